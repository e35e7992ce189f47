{{ config(materialized="ephemeral") }}

{{
    event_contributions(
        "review",
        "'review_rated_' || cast(qualified_spells.rating as " ~ dbt.type_string() ~ ")",
        "fulfilled_date",
    )
}}
