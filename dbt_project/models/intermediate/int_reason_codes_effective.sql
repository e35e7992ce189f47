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
        select platform, reason_code, effective_from as begin_on
        from candidates
        union
        select platform, reason_code, {{ beginning_of_time() }} as begin_on
        from candidates
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
            }} as stated_fault_party,
            {{
                value_at_max(
                    "candidates.risk_dimension",
                    ["candidates.specificity", "candidates.effective_from"],
                )
            }} as stated_risk_dimension
        from turning_dates
        left join
            candidates
            on candidates.platform = turning_dates.platform
            and candidates.reason_code = turning_dates.reason_code
            and candidates.effective_from <= turning_dates.begin_on
        group by turning_dates.platform, turning_dates.reason_code, turning_dates.begin_on
    ),

    -- Before its first row a code says nothing.
    final as (
        select
            platform,
            reason_code,
            begin_on,
            coalesce(stated_fault_party, 'unknown') as fault_party,
            coalesce(stated_risk_dimension, 'other') as risk_dimension,
            coalesce(
                lead(begin_on) over (partition by platform, reason_code order by begin_on),
                {{ end_of_time() }}
            ) as end_on
        from speaking
    )

select *
from final
