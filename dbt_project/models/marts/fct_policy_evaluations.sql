{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('as_of_date') }}",
    )
}}

-- One evaluation per evening, policy and entity that has a denominator in one of its windows or an
-- open record. Status: the first that matches.
{% set bases = {"raw": "", "adjusted": "adjusted_"} %}
{% set measures = [
    "numerator",
    "running_numerator",
    "expected_events",
    "expected_arrivals",
    "expected_departures",
    "own_variance",
    "shared_error",
] %}
{% set named = {
    "numerator": "{}numerator",
    "running_numerator": "running_{}numerator",
    "expected_events": "{}expected_events",
    "expected_arrivals": "{}expected_arrivals",
    "expected_departures": "{}expected_departures",
    "own_variance": "{}own_variance",
    "shared_error": "{}shared_error",
} %}
{% set intervals = {"80": 1.2815515655446004, "95": 1.959963984540054} %}
with
    projections as (select * from {{ ref("int_entity_projections") }}),

    series as (select * from {{ ref("int_entity_series") }}),

    policies as (select * from {{ ref("int_policies_speaking") }}),

    minimum_counts as (select * from {{ ref("int_minimum_counts") }}),

    spells as (select * from {{ ref("int_entity_spells") }}),

    judged_categories as (
        select distinct metric, evaluation_days from policies where entity_type = 'category'
    ),

    -- A category is the sum of the merchants that are in it on the evening.
    category_sums as (
        select
            projections.as_of_date,
            series.platform,
            'category' as entity_type,
            projections.category_id as entity_id,
            projections.category_id,
            'active' as entity_status,
            series.metric,
            projections.evaluation_days,
            sum(projections.denominator) as denominator,
            sum(projections.running_denominator) as running_denominator,
            {% for prefix in bases.values() %}
                {% for measure in measures %}
                    {% set column = named[measure].format(prefix) %}
                    -- Doubles are summed as decimals: the order of a parallel sum shows otherwise.
                    sum(cast(projections.{{ column }} as decimal(38, 12))) as {{ column }}
                    {{- "," if not loop.last }}
                {% endfor %}
                {{ "," if not loop.last }}
            {% endfor %}
        from projections
        inner join series on series.series_number = projections.series_number
        inner join
            judged_categories
            on judged_categories.metric = series.metric
            and judged_categories.evaluation_days = projections.evaluation_days
        where series.entity_type = 'merchant'
        group by
            projections.as_of_date,
            series.platform,
            projections.category_id,
            series.metric,
            projections.evaluation_days
    ),

    {% set columns %}
        denominator,
        running_denominator,
        {% for prefix in bases.values() %}
            {% for measure in measures %}
                cast({{ named[measure].format(prefix) }} as double)
                as {{ named[measure].format(prefix) }}
                {{- "," if not loop.last }}
            {% endfor %}
            {{ "," if not loop.last }}
        {% endfor %}
    {% endset %}

    entities as (
        select
            projections.as_of_date,
            series.platform,
            series.entity_type,
            series.entity_id,
            projections.category_id,
            projections.entity_status,
            series.metric,
            projections.evaluation_days,
            {{ columns }}
        from projections
        inner join series on series.series_number = projections.series_number
        union all
        select
            as_of_date,
            platform,
            entity_type,
            entity_id,
            category_id,
            entity_status,
            metric,
            evaluation_days,
            {{ columns }}
        from category_sums
    ),

    counts as (
        select
            entities.as_of_date,
            policies.policy_id,
            policies.policy_line,
            entities.platform,
            entities.entity_type,
            entities.entity_id,
            entities.category_id,
            entities.metric,
            policies.risk_point,
            policies.comparator,
            policies.warning_threshold,
            policies.violation_threshold,
            policies.min_denominator,
            policies.max_count,
            policies.min_component,
            policies.min_count,
            policies.window_days,
            policies.minimum_days,
            entities.entity_status in ('closed', 'deleted') as is_excluded,
            entities.denominator,
            entities.running_denominator,
            {% for measure in measures %}
                case
                    when policies.basis = 'raw'
                    then entities.{{ named[measure].format("") }}
                    else entities.{{ named[measure].format("adjusted_") }}
                end as {{ measure }}
                {{- "," if not loop.last }}
            {% endfor %}
        from entities
        inner join
            policies
            on policies.as_of_date = entities.as_of_date
            and policies.on_platform = entities.platform
            and policies.on_category = entities.category_id
            and policies.entity_type = entities.entity_type
            and policies.metric = entities.metric
            and policies.evaluation_days = entities.evaluation_days
    ),

    asked_counts as (
        select counts.*, minimum_counts.counted, minimum_counts.running_counted
        from counts
        left join
            minimum_counts
            on minimum_counts.as_of_date = counts.as_of_date
            and minimum_counts.platform = counts.platform
            and minimum_counts.entity_type = counts.entity_type
            and minimum_counts.entity_id = counts.entity_id
            and minimum_counts.component = counts.min_component
            and minimum_counts.window_days = counts.window_days
            and minimum_counts.evaluation_days = counts.minimum_days
    ),

    -- How many events come on top, at least and at most. What changes is taken as a gamma variable
    -- in whole numbers, of which those between its quantiles are chosen so that they are as often
    -- right as said; every departure among the changes takes one event away instead of adding it.
    {% set changes = "(expected_arrivals + expected_departures)" %}
    {% set variance = "(own_variance + shared_error * shared_error)" %}
    changed as (
        select
            *,
            {% for level, z in intervals.items() %}
                ceil(
                    {{ gamma_quantile(changes, variance, -z) }} - 2 * expected_departures - 0.25
                ) as least_{{ level }},
                floor(
                    {{ gamma_quantile(changes, variance, z) }} - 2 * expected_departures
                ) as most_{{ level }}{{ "," if not loop.last }}
            {% endfor %}
        from asked_counts
    ),

    measured as (
        select
            *,
            {{ safe_divide("numerator", "denominator") }} as value,
            {{ wilson_lower_bound("numerator", "denominator") }} as lower_bound,
            {{ safe_divide("running_numerator + expected_events", "running_denominator") }}
            as projected_value,
            {% for level in intervals %}
                -- Where no whole number lies between the narrower quantiles, both beside them do.
                case
                    when own_variance is not null
                    then
                        {{
                            safe_divide(
                                "greatest(0, running_numerator + least(least_"
                                ~ level
                                ~ ", most_80))",
                                "running_denominator",
                            )
                        }}
                end as projected_lower_{{ level }},
                case
                    when own_variance is not null
                    then
                        {{
                            safe_divide(
                                "greatest(0, running_numerator + greatest(most_"
                                ~ level
                                ~ ", least_80))",
                                "running_denominator",
                            )
                        }}
                end as projected_upper_{{ level }},
            {% endfor %}
            denominator >= min_denominator
            and (min_component is null or coalesce(counted, 0) >= min_count) as has_enough,
            running_denominator >= min_denominator
            and (
                min_component is null or coalesce(running_counted, 0) >= min_count
            ) as has_enough_running
        from changed
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
            coalesce(spells.category_id, 'unknown') as category_id,
            coalesce(spells.status, 'active') as entity_status
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
            spells
            on spells.platform = open_evenings.platform
            and spells.entity_type = open_evenings.entity_type
            and spells.entity_id = open_evenings.entity_id
            and spells.begin_on <= open_evenings.as_of_date
            and spells.end_on > open_evenings.as_of_date
        where judged.policy_id is null
    ),

    {% set bounds = [
        "projected_lower_80",
        "projected_upper_80",
        "projected_lower_95",
        "projected_upper_95",
    ] %}

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
            coalesce(
                status = 'violation' and has_enough and surely_violates, false
            ) as is_confirmed,
            {{ bounds | join(", ") }},
            -- The share of its like (category by category; categories among each other) below it.
            case
                when denominator > 0
                then
                    percent_rank() over (
                        partition by
                            as_of_date,
                            platform,
                            entity_type,
                            metric,
                            risk_point,
                            case when entity_type = 'category' then '*' else category_id end,
                            denominator > 0
                        order by value
                    )
            end as category_percentile,
            case when min_component is not null then coalesce(counted, 0) end as minimum_counted
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
                when left_open.entity_status in ('closed', 'deleted')
                then 'not_applicable'
                when policies.max_count is null
                then 'insufficient_data'
                else 'pass'
            end as status,
            false as is_confirmed,
            {% for bound in bounds %} cast(null as double) as {{ bound }}, {% endfor %}
            cast(null as double) as category_percentile,
            cast(null as bigint) as minimum_counted
        from left_open
        inner join
            policies
            on policies.as_of_date = left_open.as_of_date
            and policies.on_platform = left_open.platform
            and policies.on_category = left_open.category_id
            and policies.entity_type = left_open.entity_type
            and policies.metric = left_open.metric
            and policies.risk_point = left_open.risk_point
    )

select *
from final
