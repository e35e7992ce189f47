-- F(age): the share of in-window events that mature cohorts had reported by that age; of the
-- category, else of the platform, else 1. Monotone and within [0, 1].
with
    development as (
        select * from {{ ref("int_category_development") }} where {{ in_run("as_of_date") }}
    ),

    metric_ages as (select * from {{ ref("int_metric_ages") }}),

    scopes as (
        select as_of_date, platform, category_id, metric, age_days, quantity, departures
        from development
        union all
        select
            as_of_date,
            platform,
            '*' as category_id,
            metric,
            age_days,
            sum(quantity) as quantity,
            sum(departures) as departures
        from development
        group by as_of_date, platform, metric, age_days
    ),

    -- Of every age, also those at which the cohort was mature already.
    totals as (
        select
            as_of_date,
            platform,
            category_id,
            metric,
            sum(quantity) as all_events,
            sum(departures) as all_departures
        from scopes
        group by as_of_date, platform, category_id, metric
        having sum(quantity) > 0
    ),

    ages as (
        select totals.*, metric_ages.age_days
        from totals
        inner join metric_ages on metric_ages.metric = totals.metric
    ),

    reported as (
        select
            ages.as_of_date,
            ages.platform,
            ages.category_id,
            ages.metric,
            ages.age_days,
            ages.all_events,
            ages.all_departures,
            sum(coalesce(scopes.quantity, 0)) over by_age as reported_events,
            sum(coalesce(scopes.departures, 0)) over by_age as departed_events
        from ages
        left join
            scopes
            on scopes.as_of_date = ages.as_of_date
            and scopes.platform = ages.platform
            and scopes.category_id = ages.category_id
            and scopes.metric = ages.metric
            and scopes.age_days = ages.age_days
        window
            by_age as (
                partition by ages.as_of_date, ages.platform, ages.category_id, ages.metric
                order by ages.age_days
                rows between unbounded preceding and current row
            )
    ),

    factors as (
        select
            as_of_date,
            platform,
            category_id,
            metric,
            age_days,
            max(
                least(1.0, greatest(0.0, {{ safe_divide("reported_events", "all_events") }}))
            ) over (
                partition by as_of_date, platform, category_id, metric
                order by age_days
                rows between unbounded preceding and current row
            ) as reported_share,
            {{ safe_divide("all_departures - departed_events", "all_events") }} as open_departures,
            {{
                safe_divide(
                    "all_events - reported_events + all_departures - departed_events",
                    "all_events",
                )
            }} as open_arrivals,
            {{ safe_divide("all_events + 2 * all_departures", "all_events") }} as changes,
            all_events as events
        from reported
        where all_events > 0
    ),

    merchant_spells as (select * from {{ ref("int_merchant_spells") }}),

    categories as (
        select distinct platform, category_id
        from merchant_spells
        union
        select distinct platform, 'unknown' as category_id
        from development
        union
        select distinct platform, category_id
        from development
    ),

    -- Where a category has nothing mature to tell, its platform speaks.
    final as (
        select
            platform_factors.as_of_date,
            platform_factors.platform,
            categories.category_id,
            platform_factors.metric,
            platform_factors.age_days,
            {% for measure in [
                "reported_share",
                "open_arrivals",
                "open_departures",
                "changes",
                "events",
            ] %}
                coalesce(
                    category_factors.{{ measure }}, platform_factors.{{ measure }}
                ) as {{ measure }}{{ "," if not loop.last }}
            {% endfor %}
        from factors as platform_factors
        inner join categories on categories.platform = platform_factors.platform
        left join
            factors as category_factors
            on category_factors.as_of_date = platform_factors.as_of_date
            and category_factors.platform = platform_factors.platform
            and category_factors.category_id = categories.category_id
            and category_factors.metric = platform_factors.metric
            and category_factors.age_days = platform_factors.age_days
        where platform_factors.category_id = '*'
    )

select *
from final
