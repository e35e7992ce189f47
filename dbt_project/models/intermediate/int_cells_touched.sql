{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="""
            {% if is_incremental() %}
                delete from {{ this }}
                where
                    {{ on_platforms() }}
                    {% if run_value('on_top') %} and touched_from < {{ first_date() }} {% endif %}
            {% endif %}
        """,
    )
}}

-- The cells (merchant and cohort date) whose rates this run may change: an entry came, the cohort
-- is not or not long mature, or a category changed. Attempts for the same dates that were not
-- published leave their cells here, so that what they wrote is made anew as well.
with
    ledger as (select * from {{ ref("fct_cohort_ledger") }} where {{ on_platforms() }}),

    merchants as (
        select * from {{ ref("int_merchant_categories") }} where {{ in_run("category_from") }}
    ),

    products as (
        select * from {{ ref("int_product_categories") }} where {{ in_run("category_from") }}
    ),

    reach as (
        select max(window_days) as reach_days from {{ ref("int_metric_parts") }} where is_in_force
    ),

    cells as (
        select platform, merchant_id, cohort_date
        from ledger
        where
            report_date >= {{ first_date() }}
            or cohort_date > (select {{ add_days(first_date(), "-reach_days") }} from reach)
        union
        select ledger.platform, ledger.merchant_id, ledger.cohort_date
        from ledger
        inner join
            merchants
            on merchants.platform = ledger.platform
            and merchants.merchant_id = ledger.merchant_id
        union
        select ledger.platform, ledger.merchant_id, ledger.cohort_date
        from ledger
        inner join
            products
            on products.platform = ledger.platform
            and products.product_id = ledger.product_id
    ),

    final as (
        select distinct platform, merchant_id, cohort_date, {{ first_date() }} as touched_from
        from cells
    )

select *
from final
{% if makes_every_rate() %}
    -- Then no cell need be looked up.
    where 1 = 0
{% endif %}
