-- Every evening's windows at once: an entry counts in the official window from the evening it is
-- both reported and mature, and in the running window from the evening it is reported, until its
-- cohort leaves. So the sums are running totals over evenings of what enters and leaves.
with
    cohort_changes as (select * from {{ ref("int_entity_cohort_changes") }}),

    series as (select * from {{ ref("int_entity_series") }}),

    windows as (select * from {{ ref("int_evaluation_windows") }}),

    evenings as ({{ evenings() }}),

    series_windows as (
        select series.series_number, series.window_days, windows.evaluation_days
        from series
        inner join windows on windows.metric = series.metric
    ),

    stays as (
        select
            series_windows.series_number,
            series_windows.evaluation_days,
            cohort_changes.report_date,
            {{ add_days("cohort_changes.cohort_date", "series_windows.window_days - 1") }}
            as mature_on,
            {{
                add_days(
                    "cohort_changes.cohort_date",
                    "series_windows.window_days - 1 + series_windows.evaluation_days",
                )
            }} as leaves_on,
            {{ add_days("cohort_changes.cohort_date", "series_windows.evaluation_days") }}
            as leaves_running_on,
            cohort_changes.numerator,
            cohort_changes.adjusted_numerator,
            cohort_changes.denominator
        from cohort_changes
        inner join series_windows on series_windows.series_number = cohort_changes.series_number
    ),

    official_stays as (
        select
            *, greatest(report_date, mature_on, {{ first_date() }}) as begin_on, leaves_on as end_on
        from stays
    ),

    running_stays as (
        select *, greatest(report_date, {{ first_date() }}) as begin_on, leaves_running_on as end_on
        from stays
    ),

    steps as (
        {% for is_official, stays in [("true", "official_stays"), ("false", "running_stays")] %}
            {% for as_of_date, direction in [("begin_on", 1), ("end_on", -1)] %}
                select
                    series_number,
                    evaluation_days,
                    {{ as_of_date }} as as_of_date,
                    {{ is_official }} as is_official,
                    {{ direction }} as direction,
                    numerator,
                    adjusted_numerator,
                    denominator
                from {{ stays }}
                where
                    begin_on < end_on and {{ as_of_date }} <= {{ last_date() }}
                    {{ "union all" if not loop.last }}
                {% endfor %} {{ "union all" if not loop.last }}
        {% endfor %}
    ),

    {% set measures = ["numerator", "adjusted_numerator", "denominator"] %}

    daily_steps as (
        select
            series_number,
            evaluation_days,
            as_of_date,
            {% for measure in measures %}
                sum(
                    case when is_official then direction * {{ measure }} else 0 end
                ) as {{ measure }},
                sum(
                    case when is_official then 0 else direction * {{ measure }} end
                ) as running_{{ measure }}
                {{- "," if not loop.last }}
            {% endfor %}
        from steps
        group by series_number, evaluation_days, as_of_date
    ),

    lives as (
        select series_number, evaluation_days, min(as_of_date) as first_evening
        from daily_steps
        group by series_number, evaluation_days
    ),

    spine as (
        select lives.series_number, lives.evaluation_days, evenings.as_of_date
        from lives
        inner join evenings on evenings.as_of_date >= lives.first_evening
    ),

    totals as (
        select
            spine.series_number,
            spine.evaluation_days,
            spine.as_of_date,
            {% for measure in measures %}
                {% for total in [measure, "running_" ~ measure] %}
                    cast(
                        sum(coalesce(daily_steps.{{ total }}, 0)) over (
                            partition by spine.series_number, spine.evaluation_days
                            order by spine.as_of_date
                            rows between unbounded preceding and current row
                        ) as bigint
                    ) as {{ total }}
                    {{- "," if not loop.last }}
                {% endfor %}
                {{- "," if not loop.last }}
            {% endfor %}
        from spine
        left join
            daily_steps
            on daily_steps.series_number = spine.series_number
            and daily_steps.evaluation_days = spine.evaluation_days
            and daily_steps.as_of_date = spine.as_of_date
    ),

    final as (select * from totals where denominator > 0 or running_denominator > 0)

select *
from final
