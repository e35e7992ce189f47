{{ config(materialized="ephemeral") }}

-- Every event contribution has a twin that holds only while no appeal has overturned the event.
with
    contributions as (select * from {{ ref("int_contributions__events") }}),

    standings as (select * from {{ ref("int_event_standings") }}),

    final as (
        select
            contributions.platform,
            contributions.order_id,
            contributions.event_key,
            contributions.merchant_id,
            contributions.product_id,
            contributions.component || '_adjusted' as component,
            contributions.counts_once,
            contributions.cohort_date,
            contributions.lag_days,
            greatest(
                contributions.begin_on, coalesce(standings.begin_on, contributions.begin_on)
            ) as begin_on,
            least(contributions.end_on, coalesce(standings.end_on, contributions.end_on)) as end_on
        from contributions
        left join
            standings
            on standings.platform = contributions.platform
            and standings.event_key = contributions.event_key
            and standings.begin_on < contributions.end_on
            and standings.end_on > contributions.begin_on
        where not coalesce(standings.is_overturned, false)
    )

select *
from final
