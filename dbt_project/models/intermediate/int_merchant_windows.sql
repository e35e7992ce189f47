-- Every evening's windows at once: an entry counts in the official window from the evening it is
-- both reported and mature, and in the running window from the evening it is reported, until its
-- cohort leaves. So the sums are running totals over evenings of what enters and leaves.
with
    cohort_changes as (select * from {{ ref("int_merchant_cohort_changes") }}),

    windows as (select * from {{ ref("int_evaluation_windows") }}),

    evenings as ({{ evenings() }}),

    stays as (
        select
            cohort_changes.platform,
            cohort_changes.merchant_id,
            cohort_changes.metric,
            windows.evaluation_days,
            true as is_official,
            greatest(
                cohort_changes.report_date,
                {{ add_days("cohort_changes.cohort_date", "windows.window_days - 1") }},
                {{ first_date() }}
            ) as begin_on,
            {{
                add_days(
                    "cohort_changes.cohort_date",
                    "windows.window_days - 1 + windows.evaluation_days",
                )
            }} as end_on,
            cohort_changes.numerator,
            cohort_changes.adjusted_numerator,
            cohort_changes.denominator
        from cohort_changes
        inner join windows on windows.metric = cohort_changes.metric
        union all
        select
            cohort_changes.platform,
            cohort_changes.merchant_id,
            cohort_changes.metric,
            windows.evaluation_days,
            false as is_official,
            greatest(cohort_changes.report_date, {{ first_date() }}) as begin_on,
            {{ add_days("cohort_changes.cohort_date", "windows.evaluation_days") }} as end_on,
            cohort_changes.numerator,
            cohort_changes.adjusted_numerator,
            cohort_changes.denominator
        from cohort_changes
        inner join windows on windows.metric = cohort_changes.metric
    ),

    steps as (
        select *, begin_on as as_of_date, 1 as direction
        from stays
        where begin_on < end_on and begin_on <= {{ last_date() }}
        union all
        select *, end_on as as_of_date, -1 as direction
        from stays
        where begin_on < end_on and end_on <= {{ last_date() }}
    ),

    daily_steps as (
        select
            platform,
            merchant_id,
            metric,
            evaluation_days,
            as_of_date,
            sum(case when is_official then direction * numerator else 0 end) as numerator,
            sum(
                case when is_official then direction * adjusted_numerator else 0 end
            ) as adjusted_numerator,
            sum(case when is_official then direction * denominator else 0 end) as denominator,
            sum(case when is_official then 0 else direction * numerator end) as running_numerator,
            sum(
                case when is_official then 0 else direction * adjusted_numerator end
            ) as running_adjusted_numerator,
            sum(
                case when is_official then 0 else direction * denominator end
            ) as running_denominator
        from steps
        group by platform, merchant_id, metric, evaluation_days, as_of_date
    ),

    lives as (
        select platform, merchant_id, metric, evaluation_days, min(as_of_date) as first_evening
        from daily_steps
        group by platform, merchant_id, metric, evaluation_days
    ),

    spine as (
        select
            lives.platform,
            lives.merchant_id,
            lives.metric,
            lives.evaluation_days,
            evenings.as_of_date
        from lives
        inner join evenings on evenings.as_of_date >= lives.first_evening
    ),

    totals as (
        select
            spine.*,
            {% for measure in [
                "numerator",
                "adjusted_numerator",
                "denominator",
                "running_numerator",
                "running_adjusted_numerator",
                "running_denominator",
            ] %}
                cast(
                    sum(coalesce(daily_steps.{{ measure }}, 0)) over (
                        partition by
                            spine.platform, spine.merchant_id, spine.metric, spine.evaluation_days
                        order by spine.as_of_date
                        rows between unbounded preceding and current row
                    ) as bigint
                ) as {{ measure }}
                {{- "," if not loop.last }}
            {% endfor %}
        from spine
        left join
            daily_steps
            on daily_steps.platform = spine.platform
            and daily_steps.merchant_id = spine.merchant_id
            and daily_steps.metric = spine.metric
            and daily_steps.evaluation_days = spine.evaluation_days
            and daily_steps.as_of_date = spine.as_of_date
    )

select *
from totals
where denominator > 0 or running_denominator > 0
