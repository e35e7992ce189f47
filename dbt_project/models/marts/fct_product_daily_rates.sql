{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_touched_cells() }}",
    )
}}

-- depends_on: {{ ref("int_cells_touched") }}
{{
    daily_rates(
        counts="select * from " ~ ref("int_cells_counted"),
        entity_columns=["merchant_id", "product_id"],
        categories=ref("int_product_categories"),
        entity_key="product_id",
    )
}}
