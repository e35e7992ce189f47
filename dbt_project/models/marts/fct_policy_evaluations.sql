{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('as_of_date') }}",
    )
}}

with
    merchant_windows as (select * from {{ ref("int_entity_windows") }}),

    projections as (select * from {{ ref("int_entity_projections") }}),

    policies as (select * from {{ ref("int_policies_speaking") }} where entity_type = 'merchant'),

    merchant_spells as (select * from {{ ref("int_merchant_spells") }}),

    counts as (
        select
            policies.as_of_date,
            policies.policy_id,
            policies.policy_line,
            projections.platform,
            'merchant' as entity_type,
            projections.merchant_id as entity_id,
            projections.category_id,
            policies.metric,
            policies.risk_point,
            policies.comparator,
            policies.warning_threshold,
            policies.violation_threshold,
            policies.min_denominator,
            policies.max_count,
            policies.measure,
            projections.merchant_status in ('closed', 'deleted') as is_excluded,
            case
                when policies.basis = 'raw'
                then merchant_windows.numerator
                else merchant_windows.adjusted_numerator
            end as numerator,
            merchant_windows.denominator,
            case
                when policies.basis = 'raw'
                then
                    merchant_windows.running_numerator
                    + projections.prior_rate * projections.expected_orders
                else
                    merchant_windows.running_adjusted_numerator
                    + projections.adjusted_prior_rate * projections.expected_orders
            end as projected_numerator,
            merchant_windows.running_denominator
        from projections
        inner join
            policies
            on policies.as_of_date = projections.as_of_date
            and policies.on_platform = projections.platform
            and policies.on_category = projections.category_id
            and policies.metric = projections.metric
            and policies.evaluation_days = projections.evaluation_days
        inner join
            merchant_windows
            on merchant_windows.as_of_date = projections.as_of_date
            and merchant_windows.platform = projections.platform
            and merchant_windows.merchant_id = projections.merchant_id
            and merchant_windows.metric = projections.metric
            and merchant_windows.evaluation_days = projections.evaluation_days
    ),

    measured as (
        select
            *,
            {{ safe_divide("numerator", "denominator") }} as value,
            {{ wilson_lower_bound("numerator", "denominator") }} as lower_bound,
            {{ safe_divide("projected_numerator", "running_denominator") }} as projected_value,
            denominator >= min_denominator as has_enough,
            running_denominator >= min_denominator as has_enough_running
        from counts
    ),

    compared as (
        select
            *,
            {{ reaches("value", "violation_threshold") }} as reaches_violation,
            {{ reaches("value", "warning_threshold") }} as reaches_warning,
            {{ reaches("projected_value", "violation_threshold") }} as will_violate,
            {{ reaches("lower_bound", "violation_threshold") }} as surely_violates
        from measured
    ),

    judged as (
        select
            *,
            case
                when is_excluded
                then 'not_applicable'
                when has_enough and reaches_violation
                then 'violation'
                when
                    denominator > 0
                    and not has_enough
                    and max_count is not null
                    and numerator > max_count
                then 'violation'
                when has_enough and reaches_warning
                then 'warning'
                when has_enough_running and will_violate
                then 'warning'
                when denominator = 0
                then 'too_early'
                when not has_enough and max_count is null
                then 'insufficient_data'
                else 'pass'
            end as status
        from compared
    ),

    at_level as (
        select as_of_date, platform, entity_type, entity_id, metric, risk_point
        from judged
        where status in ('warning', 'violation')
        {% if is_incremental() %}
            union all
            select as_of_date, platform, entity_type, entity_id, metric, risk_point
            from {{ this }}
            where
                status in ('warning', 'violation')
                and as_of_date >= {{ add_days(first_date(), "-" ~ var("cooldown_days")) }}
                and as_of_date < {{ first_date() }}
                and {{ on_platforms() }}
        {% endif %}
    ),

    -- A record stays open for its cooldown, whether or not there is anything left to count.
    open_evenings as (
        select distinct
            {{ add_days("at_level.as_of_date", "numbers.number") }} as as_of_date,
            at_level.platform,
            at_level.entity_type,
            at_level.entity_id,
            at_level.metric,
            at_level.risk_point
        from at_level
        cross join ({{ whole_numbers(var("cooldown_days")) }}) as numbers
        where
            {{ add_days("at_level.as_of_date", "numbers.number") }}
            between {{ first_date() }} and {{ last_date() }}
    ),

    left_open as (
        select
            open_evenings.*,
            coalesce(merchant_spells.category_id, 'unknown') as category_id,
            coalesce(merchant_spells.status, 'active') as merchant_status
        from open_evenings
        left join
            judged
            on judged.as_of_date = open_evenings.as_of_date
            and judged.platform = open_evenings.platform
            and judged.entity_type = open_evenings.entity_type
            and judged.entity_id = open_evenings.entity_id
            and judged.metric = open_evenings.metric
            and judged.risk_point = open_evenings.risk_point
        left join
            merchant_spells
            on merchant_spells.platform = open_evenings.platform
            and merchant_spells.merchant_id = open_evenings.entity_id
            and merchant_spells.begin_on <= open_evenings.as_of_date
            and merchant_spells.end_on > open_evenings.as_of_date
        where judged.policy_id is null
    ),

    final as (
        select
            as_of_date,
            policy_id,
            policy_line,
            platform,
            entity_type,
            entity_id,
            category_id,
            metric,
            risk_point,
            cast(numerator as bigint) as numerator,
            cast(denominator as bigint) as denominator,
            value,
            lower_bound,
            projected_value,
            warning_threshold,
            violation_threshold,
            status,
            coalesce(status = 'violation' and has_enough and surely_violates, false) as is_confirmed
        from judged
        union all
        select
            left_open.as_of_date,
            policies.policy_id,
            policies.policy_line,
            left_open.platform,
            left_open.entity_type,
            left_open.entity_id,
            left_open.category_id,
            left_open.metric,
            left_open.risk_point,
            cast(0 as bigint) as numerator,
            cast(0 as bigint) as denominator,
            cast(null as double) as value,
            cast(null as double) as lower_bound,
            cast(null as double) as projected_value,
            policies.warning_threshold,
            policies.violation_threshold,
            case
                when left_open.merchant_status in ('closed', 'deleted')
                then 'not_applicable'
                when policies.max_count is null
                then 'insufficient_data'
                else 'pass'
            end as status,
            false as is_confirmed
        from left_open
        inner join
            policies
            on policies.as_of_date = left_open.as_of_date
            and policies.on_platform = left_open.platform
            and policies.on_category = left_open.category_id
            and policies.metric = left_open.metric
            and policies.risk_point = left_open.risk_point
    )

select *
from final
