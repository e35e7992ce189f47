-- The whole set of lines with each delivered version of its order. A mistaken set shows one line
-- too many until its correction.
with
    lines as (
        select
            *,
            unnest(
                range(
                    line_count(order_no)
                    + case when mistake = 'lines' and version_at < corrected_at then 1 else 0 end
                )
            ) as line_index
        from sent('order_lives', 'order')
    )

select
    'O' || order_name as order_id,
    (line_index + 1)::integer as line_no,
    product_id(merchant_no, line_product(order_no, line_index, products)) as product_id,
    line_quantity(order_no, line_index)::integer as quantity,
    money(
        list_price_cents(merchant_no, line_product(order_no, line_index, products), price_cents)
    ) as unit_price,
    report_day,
    order_no * 8 + line_index as row_no
from lines;
