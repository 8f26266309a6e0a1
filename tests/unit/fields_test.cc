#include "segment/fields.h"

#include <initializer_list>
#include <string_view>

#include "gtest/gtest.h"

namespace segmentd {
namespace {

FieldIndex Find(const Fields& fields, std::initializer_list<std::string_view> keys) {
  uint32_t node = 0;
  for (const std::string_view key : keys) {
    node = fields.child(node, key);
    if (node == Fields::kNoNode) return Fields::kNone;
  }
  return fields.node(node).field;
}

TEST(Fields, AreNumberedInTheOrderAdded) {
  Fields fields;
  EXPECT_EQ(fields.size(), 0u);
  EXPECT_EQ(fields.add("amount"), 0u);
  EXPECT_EQ(fields.add("cart.id"), 1u);
  EXPECT_EQ(fields.add("amount"), 0u);
  EXPECT_EQ(fields.size(), 2u);
  EXPECT_EQ(fields.path(0), "amount");
  EXPECT_EQ(fields.path(1), "cart.id");
}

TEST(Fields, AreATreeOfKeys) {
  Fields fields;
  const FieldIndex amount = fields.add("amount");
  const FieldIndex id = fields.add("cart.id");
  const FieldIndex cart = fields.add("cart");
  const FieldIndex sku = fields.add("items[].sku");
  const FieldIndex size = fields.add("items[].size.eu");
  const FieldIndex tags = fields.add("tags");
  const FieldIndex locale = fields.add("context.locale");
  const FieldIndex nested = fields.add("rows[][].x");
  EXPECT_EQ(Find(fields, {"amount"}), amount);
  EXPECT_EQ(Find(fields, {"cart"}), cart);
  EXPECT_EQ(Find(fields, {"cart", "id"}), id);
  EXPECT_EQ(Find(fields, {"items", "[]", "sku"}), sku);
  EXPECT_EQ(Find(fields, {"items", "[]", "size", "eu"}), size);
  EXPECT_EQ(Find(fields, {"tags"}), tags);
  EXPECT_EQ(Find(fields, {"context", "locale"}), locale);
  EXPECT_EQ(Find(fields, {"rows", "[]", "[]", "x"}), nested);

  EXPECT_EQ(Find(fields, {"items"}), Fields::kNone);
  EXPECT_EQ(Find(fields, {"items", "[]"}), Fields::kNone);
  EXPECT_EQ(Find(fields, {"items[]"}), Fields::kNone);
  EXPECT_EQ(Find(fields, {"cart.id"}), Fields::kNone);
  EXPECT_EQ(fields.child(0, "absent"), Fields::kNoNode);
  EXPECT_EQ(fields.child(0, ""), Fields::kNoNode);
  EXPECT_EQ(fields.child(fields.child(0, "amount"), "amount"), Fields::kNoNode);
}

TEST(Fields, ManyKeysMoveNothing) {
  Fields fields;
  for (uint32_t i = 0; i < 5000; ++i) {
    ASSERT_EQ(fields.add("p" + std::to_string(i % 50) + ".q" + std::to_string(i)), i);
  }
  for (uint32_t i = 0; i < 5000; ++i) {
    ASSERT_EQ(Find(fields, {"p" + std::to_string(i % 50), "q" + std::to_string(i)}), i);
  }
}

}  // namespace
}  // namespace segmentd
