{{ entity_spells(ref("int_merchants_versioned"), "merchant_id") }}
