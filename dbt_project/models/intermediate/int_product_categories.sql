{{ current_categories(ref("int_products_versioned"), "product_id") }}
