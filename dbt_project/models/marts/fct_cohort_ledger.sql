{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('report_date') }}",
    )
}}

with
    contributions as (select * from {{ ref("int_contributions_counted") }}),

    entries as (
        select *, begin_on as report_date, 1 as entry
        from contributions
        where {{ in_run("begin_on") }}
        union all
        select *, end_on as report_date, -1 as entry
        from contributions
        where {{ in_run("end_on") }}
    ),

    final as (
        select
            report_date,
            cohort_date,
            platform,
            merchant_id,
            product_id,
            component,
            cast(lag_days as integer) as lag_days,
            cast(sum(entry) as bigint) as quantity
        from entries
        group by report_date, cohort_date, platform, merchant_id, product_id, component, lag_days
        having sum(entry) <> 0
    )

select *
from final
