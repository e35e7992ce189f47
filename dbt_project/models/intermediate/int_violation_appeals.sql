-- Where the appeals against each violation record stood on the last evening of its life so far.
with
    episodes as (
        select platform, record_id, coalesce(closed_on, as_of_date) as judged_on
        from {{ ref("int_record_episodes") }}
        where record_type = 'violation'
    ),

    appeals as (select * from {{ ref("int_appeals_versioned") }} where subject_type = 'violation'),

    known as (
        select
            episodes.platform,
            episodes.record_id,
            appeals.appeal_id,
            appeals.decided_at,
            case
                when appeals.decided_date <= episodes.judged_on then appeals.status else 'submitted'
            end as status,
            row_number() over (
                partition by episodes.platform, episodes.record_id, appeals.appeal_id
                order by appeals.valid_from desc
            ) as recency
        from episodes
        inner join
            appeals
            on appeals.platform = episodes.platform
            and appeals.subject_id = episodes.record_id
            and appeals.valid_from <= episodes.judged_on
    ),

    final as (
        select
            platform,
            record_id,
            max(case when status = 'submitted' then 1 else 0 end) = 1 as is_appealing,
            {{
                value_at_max(
                    "case when status <> 'submitted' then status end",
                    [
                        "case when status <> 'submitted' then 1 else 0 end",
                        "decided_at",
                        "appeal_id",
                    ],
                )
            }} as decision
        from known
        where recency = 1
        group by platform, record_id
    )

select *
from final
