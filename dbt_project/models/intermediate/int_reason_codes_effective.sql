with
    reason_codes as (select * from {{ ref("reason_codes") }}),

    platforms as (
        select distinct platform
        from {{ ref("int_merchants_versioned") }}
        union
        select distinct platform
        from {{ ref("int_orders_versioned") }}
    ),

    -- A platform's own row speaks before one for any platform.
    candidates as (
        select
            platforms.platform,
            reason_codes.reason_code,
            reason_codes.effective_from,
            reason_codes.fault_party,
            reason_codes.risk_dimension,
            case when reason_codes.platform = '*' then 0 else 1 end as specificity
        from reason_codes
        inner join platforms on reason_codes.platform in ('*', platforms.platform)
    ),

    turning_dates as (
        select distinct platform, reason_code, effective_from as begin_on from candidates
    ),

    speaking as (
        select
            turning_dates.platform,
            turning_dates.reason_code,
            turning_dates.begin_on,
            {{
                value_at_max(
                    "candidates.fault_party",
                    ["candidates.specificity", "candidates.effective_from"],
                )
            }} as fault_party,
            {{
                value_at_max(
                    "candidates.risk_dimension",
                    ["candidates.specificity", "candidates.effective_from"],
                )
            }} as risk_dimension
        from turning_dates
        inner join
            candidates
            on candidates.platform = turning_dates.platform
            and candidates.reason_code = turning_dates.reason_code
            and candidates.effective_from <= turning_dates.begin_on
        group by turning_dates.platform, turning_dates.reason_code, turning_dates.begin_on
    ),

    final as (
        select
            *,
            coalesce(
                lead(begin_on) over (partition by platform, reason_code order by begin_on),
                {{ end_of_time() }}
            ) as end_on
        from speaking
    )

select *
from final
