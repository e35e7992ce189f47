-- F(age): the share of in-window events that mature cohorts had reported by that age; of the
-- category, else of the platform, else 1. Monotone and within [0, 1].
with
    development as (
        select * from {{ ref("int_category_development") }} where {{ in_run("as_of_date") }}
    ),

    metric_ages as (select * from {{ ref("int_metric_ages") }}),

    scopes as (
        select as_of_date, platform, category_id, metric, age_days, quantity
        from development
        union all
        select as_of_date, platform, '*' as category_id, metric, age_days, sum(quantity) as quantity
        from development
        group by as_of_date, platform, metric, age_days
    ),

    ages as (
        select distinct
            scopes.as_of_date,
            scopes.platform,
            scopes.category_id,
            metric_ages.metric,
            metric_ages.age_days
        from scopes
        inner join metric_ages on metric_ages.metric = scopes.metric
    ),

    reported as (
        select
            ages.as_of_date,
            ages.platform,
            ages.category_id,
            ages.metric,
            ages.age_days,
            sum(coalesce(scopes.quantity, 0)) over (
                partition by ages.as_of_date, ages.platform, ages.category_id, ages.metric
                order by ages.age_days
                rows between unbounded preceding and current row
            ) as reported_events,
            sum(coalesce(scopes.quantity, 0)) over (
                partition by ages.as_of_date, ages.platform, ages.category_id, ages.metric
            ) as all_events
        from ages
        left join
            scopes
            on scopes.as_of_date = ages.as_of_date
            and scopes.platform = ages.platform
            and scopes.category_id = ages.category_id
            and scopes.metric = ages.metric
            and scopes.age_days = ages.age_days
    ),

    final as (
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
            ) as reported_share
        from reported
        where all_events > 0
    )

select *
from final
