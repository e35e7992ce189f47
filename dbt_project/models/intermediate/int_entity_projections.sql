-- Every window with what is still to come in it (Bornhuetter-Ferguson): its immature cohorts are
-- expected to report prior rate x denominator x (1 - F(age)) events. Its variance has four parts:
-- chance (events arrive and depart independently) and the entity's own rate (the beta posterior
-- behind the prior rate) are its own; the mean of the prior and F itself are guessed once for all
-- merchants of a category, so that these errors add up instead of cancelling out.
with
    cohort_changes as (select * from {{ ref("int_entity_cohort_changes") }}),

    series as (select * from {{ ref("int_entity_series") }}),

    windows as (select * from {{ ref("int_entity_windows") }}),

    evaluation_windows as (select * from {{ ref("int_evaluation_windows") }}),

    metrics as (select * from {{ ref("metrics") }}),

    metric_ages as (select * from {{ ref("int_metric_ages") }}),

    factors as (select * from {{ ref("int_development_factors") }}),

    priors as (select * from {{ ref("int_category_priors") }}),

    spells as (select * from {{ ref("int_entity_spells") }}),

    -- Whom a series belongs to, and since when: numbered, as the series are.
    placed_series as (
        select
            series.series_number,
            series.platform,
            series.metric,
            coalesce(spells.category_id, 'unknown') as category_id,
            coalesce(spells.status, 'active') as entity_status,
            coalesce(spells.begin_on, {{ beginning_of_time() }}) as begin_on,
            coalesce(spells.end_on, {{ end_of_time() }}) as end_on
        from series
        left join
            spells
            on spells.platform = series.platform
            and spells.entity_type = series.entity_type
            and spells.entity_id = series.entity_id
    ),

    scopes as (
        select
            cast(
                row_number() over (order by platform, category_id, metric) as integer
            ) as scope_number,
            platform,
            category_id,
            metric
        from (select distinct platform, category_id, metric from placed_series) as places
    ),

    series_scopes as (
        select
            placed_series.series_number,
            scopes.scope_number,
            placed_series.category_id,
            placed_series.entity_status,
            placed_series.begin_on,
            placed_series.end_on
        from placed_series
        inner join
            scopes
            on scopes.platform = placed_series.platform
            and scopes.category_id = placed_series.category_id
            and scopes.metric = placed_series.metric
    ),

    open_shares as (
        select
            scopes.scope_number,
            factors.as_of_date,
            factors.age_days,
            -- Summed as decimals: the order of a parallel sum of doubles shows in the result.
            cast(1 - factors.reported_share as decimal(18, 12)) as open_share,
            cast(factors.open_arrivals as decimal(18, 12)) as open_arrivals,
            cast(factors.open_departures as decimal(18, 12)) as open_departures,
            cast(factors.changes as decimal(18, 12)) as changes,
            factors.events
        from factors
        inner join
            scopes
            on scopes.platform = factors.platform
            and scopes.category_id = factors.category_id
            and scopes.metric = factors.metric
    ),

    immature as (
        select
            cohort_changes.series_number,
            series.metric,
            metric_ages.age_days,
            {{ add_days("cohort_changes.cohort_date", "metric_ages.age_days") }} as as_of_date,
            cohort_changes.report_date,
            cohort_changes.denominator
        from cohort_changes
        inner join series on series.series_number = cohort_changes.series_number
        inner join metric_ages on metric_ages.metric = series.metric
        where cohort_changes.denominator <> 0
    ),

    reported as (
        select *
        from immature
        where
            as_of_date between {{ first_date() }} and {{ last_date() }}
            and report_date <= as_of_date
    ),

    expected as (
        select
            reported.series_number,
            evaluation_windows.evaluation_days,
            reported.as_of_date,
            cast(sum(reported.denominator) as double) as young_orders,
            cast(sum(reported.denominator * open_shares.open_share) as double) as expected_orders,
            cast(
                sum(reported.denominator * open_shares.open_arrivals) as double
            ) as arriving_orders,
            cast(
                sum(reported.denominator * open_shares.open_departures) as double
            ) as departing_orders
        from reported
        inner join
            series_scopes
            on series_scopes.series_number = reported.series_number
            and series_scopes.begin_on <= reported.as_of_date
            and series_scopes.end_on > reported.as_of_date
        inner join
            open_shares
            on open_shares.scope_number = series_scopes.scope_number
            and open_shares.as_of_date = reported.as_of_date
            and open_shares.age_days = reported.age_days
        inner join
            evaluation_windows
            on evaluation_windows.metric = reported.metric
            and evaluation_windows.evaluation_days > reported.age_days
        group by reported.series_number, evaluation_windows.evaluation_days, reported.as_of_date
    ),

    -- What is open of one order at every age that the window holds. It is an average over the
    -- changes that mature cohorts saw, to which a change at age x adds x: hence its variance.
    patterns as (
        select
            scope_number,
            as_of_date,
            evaluation_days,
            cast(ages as double) as ages,
            greatest(
                0,
                {{
                    safe_divide(
                        "cast(squares as double)"
                        ~ " - 2 * cast(net as double) * cast(gross as double)"
                        ~ " + cast(net as double) * cast(net as double) * cast(changes as double)",
                        "events",
                    )
                }}
            ) as variance
        from
            (
                select
                    open_shares.scope_number,
                    open_shares.as_of_date,
                    evaluation_windows.evaluation_days,
                    count(*) as ages,
                    sum(open_shares.open_arrivals - open_shares.open_departures) as net,
                    sum(open_shares.open_arrivals + open_shares.open_departures) as gross,
                    -- x squared is the sum of the odd numbers below 2 x.
                    sum(
                        (2 * open_shares.age_days + 1)
                        * (open_shares.open_arrivals + open_shares.open_departures)
                    ) as squares,
                    max(open_shares.changes) as changes,
                    max(open_shares.events) as events
                from open_shares
                inner join scopes on scopes.scope_number = open_shares.scope_number
                inner join
                    evaluation_windows
                    on evaluation_windows.metric = scopes.metric
                    and evaluation_windows.evaluation_days > open_shares.age_days
                group by
                    open_shares.scope_number,
                    open_shares.as_of_date,
                    evaluation_windows.evaluation_days
            ) as sums
    ),

    -- Of the category, else of the platform.
    {% set parameters = ["prior_a", "prior_b", "mean_variance"] %}
    scope_priors as (
        select
            scopes.scope_number,
            priors.as_of_date,
            {% for basis in ["raw", "adjusted"] %}
                {% for parameter in parameters %}
                    coalesce(
                        max(
                            case
                                when priors.basis = '{{ basis }}' and priors.category_id <> '*'
                                then priors.{{ parameter }}
                            end
                        ),
                        max(
                            case
                                when priors.basis = '{{ basis }}' and priors.category_id = '*'
                                then priors.{{ parameter }}
                            end
                        )
                    ) as {{ basis }}_{{ parameter }}{{ "," if not loop.last }}
                {% endfor %}
                {{ "," if not loop.last }}
            {% endfor %}
        from scopes
        inner join
            priors
            on priors.platform = scopes.platform
            and priors.category_id in ('*', scopes.category_id)
            and priors.metric = scopes.metric
        group by scopes.scope_number, priors.as_of_date
    ),

    -- The prior weighs what the metric's own window holds, whatever window is projected.
    prior_windows as (
        select series.series_number, metrics.prior_days
        from series
        inner join metrics on metrics.metric = series.metric
    ),

    weighed as (
        select windows.*, numerator as k, adjusted_numerator as adjusted_k, denominator as n
        from windows
        inner join
            prior_windows
            on prior_windows.series_number = windows.series_number
            and prior_windows.prior_days = windows.evaluation_days
        union all
        select
            windows.*,
            coalesce(own.numerator, 0) as k,
            coalesce(own.adjusted_numerator, 0) as adjusted_k,
            coalesce(own.denominator, 0) as n
        from windows
        inner join
            prior_windows
            on prior_windows.series_number = windows.series_number
            and prior_windows.prior_days <> windows.evaluation_days
        left join
            windows as own
            on own.series_number = windows.series_number
            and own.as_of_date = windows.as_of_date
            and own.evaluation_days = prior_windows.prior_days
    ),

    {% set bases = {"": ("k", "raw"), "adjusted_": ("adjusted_k", "adjusted")} %}

    rated as (
        select
            weighed.*,
            series_scopes.category_id,
            series_scopes.entity_status,
            {% for measure in ["expected_orders", "arriving_orders", "departing_orders"] %}
                coalesce(expected.{{ measure }}, 0) as {{ measure }},
            {% endfor %}
            -- As if its young orders were spread evenly over the ages. Null where no F is known.
            power(coalesce(expected.young_orders, 0) / patterns.ages, 2)
            * patterns.variance as pattern_variance,
            {% for prefix, (k, basis) in bases.items() %}
                coalesce(
                    {{
                        safe_divide(
                            "least(weighed."
                            ~ k
                            ~ ", weighed.n) + scope_priors."
                            ~ basis
                            ~ "_prior_a",
                            "weighed.n + scope_priors."
                            ~ basis
                            ~ "_prior_a + scope_priors."
                            ~ basis
                            ~ "_prior_b",
                        )
                    }},
                    {{ safe_divide("least(weighed." ~ k ~ ", weighed.n)", "weighed.n") }},
                    0
                ) as {{ prefix }}prior_rate,
                coalesce(
                    scope_priors.{{ basis }}_prior_a + scope_priors.{{ basis }}_prior_b, 0
                ) as {{ prefix }}prior_weight,
                coalesce(scope_priors.{{ basis }}_mean_variance, 0) as {{ prefix }}mean_variance
                {{- "," if not loop.last }}
            {% endfor %}
        from weighed
        inner join
            series_scopes
            on series_scopes.series_number = weighed.series_number
            and series_scopes.begin_on <= weighed.as_of_date
            and series_scopes.end_on > weighed.as_of_date
        left join
            scope_priors
            on scope_priors.scope_number = series_scopes.scope_number
            and scope_priors.as_of_date = weighed.as_of_date
        left join
            expected
            on expected.series_number = weighed.series_number
            and expected.evaluation_days = weighed.evaluation_days
            and expected.as_of_date = weighed.as_of_date
        left join
            patterns
            on patterns.scope_number = series_scopes.scope_number
            and patterns.as_of_date = weighed.as_of_date
            and patterns.evaluation_days = weighed.evaluation_days
    ),

    final as (
        select
            series_number,
            evaluation_days,
            as_of_date,
            category_id,
            entity_status,
            numerator,
            adjusted_numerator,
            denominator,
            running_numerator,
            running_adjusted_numerator,
            running_denominator,
            expected_orders,
            {% for prefix in bases %}
                {% set rate = prefix ~ "prior_rate" %}
                {% set weight = prefix ~ "prior_weight" %}
                {{ rate }},
                {{ rate }} * expected_orders as {{ prefix }}expected_events,
                {{ rate }} * arriving_orders as {{ prefix }}expected_arrivals,
                {{ rate }} * departing_orders as {{ prefix }}expected_departures,
                case
                    when pattern_variance is not null
                    then
                        {{ rate }}
                        * (1 - {{ rate }})
                        * (
                            arriving_orders
                            + departing_orders
                            + power(arriving_orders - departing_orders, 2) / (n + {{ weight }} + 1)
                        )
                end as {{ prefix }}own_variance,
                sqrt(
                    power(
                        (arriving_orders - departing_orders)
                        * coalesce({{ safe_divide(weight, "n + " ~ weight) }}, 0),
                        2
                    )
                    * {{ prefix }}mean_variance
                    + power({{ rate }}, 2) * pattern_variance
                ) as {{ prefix }}shared_error
                {{- "," if not loop.last }}
            {% endfor %}
        from rated
    )

select *
from final
