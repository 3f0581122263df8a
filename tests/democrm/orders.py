"""Name the orders and customers of the data that the tests speak of."""

# Processed, paid 536.65 dollars with the gift card of james_li_5688.
PROCESSED = "W2611340"
PROCESSED_CUSTOMER = "james_li_5688"
PROCESSED_PAID = 536_65
PROCESSED_METHOD = "gift_card_1725971"

# Cancelled, and its 608.91 dollars were refunded, before the data were taken.
CANCELLED = "W3220387"
CANCELLED_PAID = 608_91
CANCELLED_METHOD = "paypal_5716091"

# Pending, paid 2492.53 dollars by PayPal; the customer has a card and a gift card too.
PENDING = "W4862767"
PENDING_CUSTOMER = "sophia_thomas_5301"
PENDING_PAID = 2492_53
PENDING_METHOD = "paypal_5297429"
PENDING_OTHER_METHOD = "credit_card_7326294"
PENDING_GIFT_CARD = "gift_card_9178183"
