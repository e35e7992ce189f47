-- What was projected on every evening, held against what came. Sections: see calibration.py.
--@ windows
-- Every running window of an evaluation with its forecast, what had been observed of it, counted
-- from the ledger, and what it came to: the official value that the same cohorts had once all of
-- them were mature.
create temp table windows as
with
    parts as (
        select
            metric_components.metric,
            metrics.window_days,
            metric_components.part,
            component || case when part = 'numerator' and is_event then '_adjusted' else '' end
            as component
        from product.seeds.metric_components
        inner join product.seeds.metrics using (metric)
        inner join product.seeds.components using (component)
        where metric in (select metric from product.marts.dim_policies)
    ),

    evenings as (
        select distinct as_of_date
        from product.marts.fct_policy_evaluations
        where as_of_date >= $first_evening
    ),

    cells as (
        select
            platform,
            merchant_id,
            metric,
            cohort_date,
            report_date,
            sum(case when part = 'numerator' then quantity else 0 end) as events,
            sum(case when part = 'denominator' then quantity else 0 end) as orders
        from product.marts.fct_cohort_ledger
        inner join parts using (component)
        where lag_days < window_days and cohort_date > $first_evening::date - $evaluation_days
        group by all
    ),

    merchants as (
        select
            as_of_date,
            platform,
            'merchant' as entity_type,
            merchant_id as entity_id,
            metric,
            sum(events) as events,
            sum(orders) as orders
        from evenings
        inner join
            cells
            on cohort_date between as_of_date - ($evaluation_days - 1) and as_of_date
            and report_date <= as_of_date
        group by all
    ),

    categories as (
        select
            as_of_date,
            merchants.platform,
            'category' as entity_type,
            category_id as entity_id,
            metric,
            sum(events) as events,
            sum(orders) as orders
        from merchants
        inner join
            product.intermediate.int_merchant_spells as spells
            on spells.platform = merchants.platform
            and spells.merchant_id = merchants.entity_id
            and begin_on <= as_of_date
            and end_on > as_of_date
        group by all
    ),

    observed as (from merchants union all from categories)

select
    observed.*,
    evaluations.projected_value,
    evaluations.projected_lower_80,
    evaluations.projected_upper_80,
    evaluations.projected_lower_95,
    evaluations.projected_upper_95,
    matured.value as came
from observed
inner join product.seeds.metrics using (metric)
inner join
    product.marts.fct_policy_evaluations as evaluations
    using (as_of_date, platform, entity_type, entity_id, metric)
inner join product.marts.dim_policies as policies using (policy_id)
inner join
    product.marts.fct_policy_evaluations as matured
    on matured.as_of_date = observed.as_of_date + (window_days - 1)
    and matured.platform = observed.platform
    and matured.entity_type = observed.entity_type
    and matured.entity_id = observed.entity_id
    and matured.metric = observed.metric
where
    observed.orders >= policies.min_denominator
    and evaluations.projected_lower_80 is not null
    and matured.value is not null;

--@ calibration
-- How many events a window was to expect is told by its orders alone, at what orders of the metric
-- brought on average: forecasts are not chosen by what they say. What came is held against the
-- interval in whole events of the evening's orders, for an order that is sent late moves the rate by
-- less than an event.
with
    expecting as (
        select
            *,
            orders * sum(came * orders - events) over as_large / sum(orders) over as_large
            as expected,
            round(came * orders) as came_events,
            abs(projected_value - came) as error,
            abs(events / orders - came) as observed_error
        from windows
        where platform like $platforms
        window as_large as (partition by metric, entity_type)
    ),

    banded as (
        select
            *,
            case
                when expected < 1
                then '0 to 1'
                when expected < 2
                then '1 to 2'
                when expected < 4
                then '2 to 4'
                when expected < 8
                then '4 to 8'
                else '8 and more'
            end as band
        from expecting
    )

select
    case
        when grouping(band) = 0
        then 'events still to come: ' || band
        when grouping(metric) = 0
        then metric
        when grouping(entity_type) = 0
        then case entity_type when 'category' then 'categories' else 'merchants' end
        else 'all'
    end as name,
    count(*) as windows,
    avg(
        (
            came_events
            between round(projected_lower_80 * orders) and round(projected_upper_80 * orders)
        )::integer
    ) as covered_80,
    avg(
        (
            came_events
            between round(projected_lower_95 * orders) and round(projected_upper_95 * orders)
        )::integer
    ) as covered_95,
    avg(error) / avg(observed_error) as error_per_window,
    sum(error * orders) / sum(observed_error * orders) as error_per_order
from banded
where expected >= $at_least
group by grouping sets ((), (entity_type), (metric), (band))
order by grouping(band) + 2 * grouping(metric) + 4 * grouping(entity_type) desc, 1
