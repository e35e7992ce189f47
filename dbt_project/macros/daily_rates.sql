{% macro forget_touched_cells() -%}
    {#- Rates of touched cells are made anew; a cell that has emptied leaves no row behind. -#}
    {% if is_incremental() %}
        delete from {{ this }}
        where
            {{ on_platforms() }}
            {% if not makes_every_rate() %}
                and (platform, merchant_id, cohort_date)
                in (select platform, merchant_id, cohort_date from {{ ref("int_cells_touched") }})
            {% endif %}
    {% endif %}
{%- endmacro %}

{% macro daily_rates(counts, entity_columns, categories, entity_key) -%}
    {#-
        Rates per cohort date as of the last evening, from counts at the grain of entity, metric
        and cohort date. The projection adds what the cohort still has to report: prior rate x
        denominator x (1 - F(age)).
    -#}
    with
        counts as ({{ counts }}),

        categories as (select * from {{ categories }}),

        series as (select * from {{ ref("int_entity_series") }} where entity_type = 'merchant'),

        projections as (
            -- A merchant's prior is the same for every length of window.
            select distinct
                series.platform,
                series.entity_id as merchant_id,
                projections.category_id,
                series.metric,
                projections.prior_rate
            from {{ ref("int_entity_projections") }} as projections
            inner join series on series.series_number = projections.series_number
            where projections.as_of_date = {{ last_date() }}
        ),

        factors as (
            select * from {{ ref("int_development_factors") }} where as_of_date = {{ last_date() }}
        ),

        aged as (
            select
                counts.*,
                coalesce(categories.category_id, 'unknown') as category_id,
                coalesce(categories.category_from, counts.changed_on) as category_from,
                {{ dbt.datediff("counts.cohort_date", last_date(), "day") }} as age_days,
                {{ add_days("counts.cohort_date", "counts.window_days - 1") }} as mature_on
            from counts
            left join
                categories
                on categories.platform = counts.platform
                and categories.{{ entity_key }} = counts.{{ entity_key }}
            where counts.denominator <> 0 or counts.numerator <> 0 or counts.adjusted_numerator <> 0
        ),

        expected as (
            select
                aged.*,
                aged.age_days >= aged.window_days - 1 as is_mature,
                case
                    when aged.age_days >= aged.window_days - 1
                    then 0
                    else
                        coalesce(projections.prior_rate, 0)
                        * aged.denominator
                        * (1 - coalesce(factors.reported_share, 1))
                end as expected_events
            from aged
            left join
                projections
                on projections.platform = aged.platform
                and projections.merchant_id = aged.merchant_id
                and projections.metric = aged.metric
            left join
                factors
                on factors.platform = aged.platform
                and factors.category_id = coalesce(projections.category_id, 'unknown')
                and factors.metric = aged.metric
                and factors.age_days = aged.age_days
        ),

        final as (
            select
                platform,
                {{ entity_columns | join(", ") }},
                category_id,
                metric,
                cohort_date,
                numerator,
                denominator,
                {{ safe_divide("numerator", "denominator") }} as rate,
                adjusted_numerator,
                {{ safe_divide("adjusted_numerator", "denominator") }} as adjusted_rate,
                is_mature,
                {{ safe_divide("numerator + expected_events", "denominator") }} as projected_rate,
                case
                    when is_mature
                    then greatest(changed_on, mature_on, category_from)
                    else {{ last_date() }}
                end as as_of_date
            from expected
        )

    select *
    from final
{%- endmacro %}

{% macro forget_touched_cohorts() -%}
    {#- A category's rates are made anew for every cohort date with a touched cell. -#}
    {% if is_incremental() %}
        delete from {{ this }}
        where
            {{ on_platforms() }}
            {% if not makes_every_rate() %}
                and (platform, cohort_date)
                in (select platform, cohort_date from {{ ref("int_cells_touched") }})
            {% endif %}
    {% endif %}
{%- endmacro %}
