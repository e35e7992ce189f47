{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_unpublished('as_of_date') }}",
        tags=["same_under_any_policies"],
    )
}}

-- How events of mature cohorts were reported by age, summed over the merchants that a category
-- holds on the evening. An entry joins on the evening its cohort is mature, and moves when its
-- merchant changes category.
with
    ledger as (select * from {{ ref("fct_cohort_ledger") }} where {{ on_platforms() }}),

    metric_parts as (select * from {{ ref("int_metric_parts") }} where in_numerator = 1),

    merchant_spells as (select * from {{ ref("int_merchant_spells") }}),

    evenings as ({{ evenings() }}),

    moved_merchants as (
        select platform, merchant_id
        from {{ ref("int_merchant_categories") }}
        where category_from between {{ first_date() }} and {{ last_date() }}
    ),

    reach as (select max(window_days) as reach_days from metric_parts),

    entries as (
        select ledger.*
        from ledger
        where
            report_date between {{ first_date() }} and {{ last_date() }}
            or cohort_date > (select {{ add_days(first_date(), "-reach_days") }} from reach)
        union all
        select ledger.*
        from ledger
        inner join
            moved_merchants
            on moved_merchants.platform = ledger.platform
            and moved_merchants.merchant_id = ledger.merchant_id
        where
            not (
                report_date between {{ first_date() }} and {{ last_date() }}
                or cohort_date > (select {{ add_days(first_date(), "-reach_days") }} from reach)
            )
    ),

    reported as (
        select
            entries.platform,
            entries.merchant_id,
            metric_parts.metric,
            greatest(
                entries.report_date,
                {{ add_days("entries.cohort_date", "metric_parts.window_days - 1") }}
            ) as settled_on,
            least(
                {{ dbt.datediff("entries.cohort_date", "entries.report_date", "day") }},
                metric_parts.window_days - 1
            ) as age_days,
            sum(entries.quantity) as quantity,
            sum(greatest(- entries.quantity, 0)) as departures
        from entries
        inner join metric_parts on metric_parts.component = entries.component
        where entries.lag_days < metric_parts.window_days
        group by entries.platform, entries.merchant_id, metric_parts.metric, settled_on, age_days
    ),

    stays as (
        select
            reported.platform,
            coalesce(merchant_spells.category_id, 'unknown') as category_id,
            reported.metric,
            reported.age_days,
            reported.quantity,
            reported.departures,
            greatest(
                reported.settled_on, coalesce(merchant_spells.begin_on, reported.settled_on)
            ) as begin_on,
            coalesce(merchant_spells.end_on, {{ end_of_time() }}) as end_on
        from reported
        left join
            merchant_spells
            on merchant_spells.platform = reported.platform
            and merchant_spells.merchant_id = reported.merchant_id
            and merchant_spells.end_on > reported.settled_on
    ),

    steps as (
        select platform, category_id, metric, age_days, begin_on as as_of_date, quantity, departures
        from stays
        where begin_on between {{ first_date() }} and {{ last_date() }}
        union all
        select
            platform, category_id, metric, age_days, end_on as as_of_date, - quantity, - departures
        from stays
        where end_on between {{ first_date() }} and {{ last_date() }}
        {% if is_incremental() %}
            union all
            select platform, category_id, metric, age_days, {{ first_date() }}, quantity, departures
            from {{ this }}
            where as_of_date = {{ add_days(first_date(), -1) }} and {{ on_platforms() }}
        {% endif %}
    ),

    daily_steps as (
        select
            platform,
            category_id,
            metric,
            age_days,
            as_of_date,
            sum(quantity) as quantity,
            sum(departures) as departures
        from steps
        group by platform, category_id, metric, age_days, as_of_date
    ),

    lives as (
        select platform, category_id, metric, age_days, min(as_of_date) as first_evening
        from daily_steps
        group by platform, category_id, metric, age_days
    ),

    totals as (
        select
            evenings.as_of_date,
            lives.platform,
            lives.category_id,
            lives.metric,
            lives.age_days,
            {% for count in ["quantity", "departures"] %}
                cast(
                    sum(coalesce(daily_steps.{{ count }}, 0)) over (
                        partition by lives.platform, lives.category_id, lives.metric, lives.age_days
                        order by evenings.as_of_date
                        rows between unbounded preceding and current row
                    ) as bigint
                ) as {{ count }}{{ "," if not loop.last }}
            {% endfor %}
        from lives
        inner join evenings on evenings.as_of_date >= lives.first_evening
        left join
            daily_steps
            on daily_steps.platform = lives.platform
            and daily_steps.category_id = lives.category_id
            and daily_steps.metric = lives.metric
            and daily_steps.age_days = lives.age_days
            and daily_steps.as_of_date = evenings.as_of_date
    )

select *
from totals
where quantity <> 0 or departures <> 0
