{{ current_categories(ref("int_merchants_versioned"), "merchant_id") }}
