-- Warning records held against the incidents that were injected. Sections: see incidents.py.
--@ found
-- Every incident with the first warning and the first official violation that it brought, and
-- whether the merchant was large enough to show it in a few days.
create temp table found as
with
    sizes as (
        select
            injected.platform,
            injected.merchant_id,
            coalesce(sum(quantity), 0) as orders
        from injected
        left join
            product.marts.fct_cohort_ledger as ledger
            on ledger.platform = injected.platform
            and ledger.merchant_id = injected.merchant_id
            and ledger.component = 'orders_paid'
            and ledger.cohort_date between injected.start and injected.end
        group by all
    ),

    records as (
        select 'warning' as level, platform, metric, entity_type, entity_id, opened_on
        from product.marts.fct_warning_records
        union all
        select 'violation' as level, platform, metric, entity_type, entity_id, opened_on
        from product.marts.fct_violation_records
    ),

    brought as (
        select
            injected.platform,
            injected.merchant_id,
            min(case when level = 'warning' then opened_on end) as warned_on,
            min(case when level = 'violation' then opened_on end) as violated_on
        from injected
        inner join affected using (kind)
        inner join product.seeds.metrics using (metric)
        inner join
            records
            on records.platform = injected.platform
            and records.entity_type = 'merchant'
            and records.entity_id = injected.merchant_id
            and records.metric = affected.metric
            and records.opened_on between injected.start and injected.end + window_days
        group by all
    )

select injected.*, sizes.orders, sizes.orders >= $large as is_large, warned_on, violated_on
from injected
inner join sizes using (platform, merchant_id)
left join brought using (platform, merchant_id);

--@ recall
select
    case
        when grouping(kind) = 0
        then kind
        when grouping(is_large) = 0
        then case when is_large then 'large' else 'small' end
        else 'all'
    end as name,
    count(*) as incidents,
    count(warned_on) as warned,
    count(violated_on) as violated,
    median(violated_on - warned_on) as median_lead_days,
    count(*) filter (where warned_on < violated_on) as warned_before
from found
group by grouping sets ((), (kind), (is_large))
order by grouping(kind) + 2 * grouping(is_large) desc, 1

--@ precision
-- A warning is right by the incident that it is about, else by a violation that its record saw or
-- that came within the days that its projection looked ahead. One of the last evenings of which
-- neither is true yet may still come true.
with
    judged as (
        select
            warnings.metric,
            exists (
                select 1
                from found
                inner join affected using (kind)
                where found.platform = warnings.platform
                    and found.merchant_id = warnings.entity_id
                    and affected.metric = warnings.metric
                    and warnings.opened_on between found.start and found.end + window_days
            ) as is_of_incident,
            exists (
                select 1
                from product.marts.fct_violation_records as violations
                where violations.platform = warnings.platform
                    and violations.policy_line = warnings.policy_line
                    and violations.entity_type = warnings.entity_type
                    and violations.entity_id = warnings.entity_id
                    and violations.opened_on
                    between warnings.opened_on and warnings.last_at_level_on + window_days - 1
            ) as is_violated,
            last_at_level_on + window_days - 1 > $last_date as is_undecided
        from product.marts.fct_warning_records as warnings
        inner join product.seeds.metrics using (metric)
        where warnings.entity_type = 'merchant'
    )

select
    case when grouping(metric) = 0 then metric else 'all' end as name,
    count(*) as warnings,
    count(*) filter (where is_of_incident) as of_incidents,
    count(*) filter (where not is_of_incident and is_violated) as of_violations,
    count(*) filter (where not is_of_incident and not is_violated and is_undecided) as undecided,
    count(*) filter (where not is_of_incident and not is_violated and not is_undecided) as wrong
from judged
group by grouping sets ((), (metric))
order by grouping(metric) desc, 1
