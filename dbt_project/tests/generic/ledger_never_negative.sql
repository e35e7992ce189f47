{% test ledger_never_negative(model) %}
    {#- Entries of a ledger after which something counts less than zero times. -#}
    with
        balances as (
            select
                *,
                sum(quantity) over (
                    partition by platform, merchant_id, product_id, component, cohort_date, lag_days
                    order by report_date
                ) as balance
            from {{ model }}
        )

    select *
    from balances
    where balance < 0
{% endtest %}
