-- For each evening, platform and category, the single most specific active policy per metric,
-- risk point and entity type: the platform's own before '*', then the category's before '*'.
with
    policies as (select * from {{ ref("dim_policies") }}),

    metrics as (select * from {{ ref("metrics") }}),

    spells as (select * from {{ ref("int_entity_spells") }}),

    evenings as ({{ evenings() }}),

    categories as (
        select platform, category_id
        from spells
        union
        select platform, 'unknown' as category_id
        from {{ ref("int_entity_series") }}
    ),

    places as (select * from categories cross join evenings),

    candidates as (
        select
            places.as_of_date,
            places.platform as on_platform,
            places.category_id as on_category,
            policies.*,
            metrics.window_days,
            coalesce(policies.min_days, policies.evaluation_days) as minimum_days,
            row_number() over (
                partition by
                    places.as_of_date,
                    places.platform,
                    places.category_id,
                    policies.metric,
                    policies.risk_point,
                    policies.entity_type
                order by
                    case when policies.platform = '*' then 1 else 0 end,
                    case when policies.category_id = '*' then 1 else 0 end,
                    policies.effective_from desc,
                    policies.policy_id
            ) as precedence
        from places
        inner join
            policies
            on policies.platform in ('*', places.platform)
            and policies.category_id in ('*', places.category_id)
            and policies.effective_from <= places.as_of_date
            and coalesce(policies.effective_to >= places.as_of_date, true)
        inner join metrics on metrics.metric = policies.metric
    ),

    final as (select * from candidates where precedence = 1)

select *
from final
