#include "segment/value.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace segmentd {
namespace {

std::vector<Value> Different() {
  static const Value kItems[] = {Value::String("a"), Value::Number(7), Value::String("b")};
  const absl::Span<const Value> items(kItems);
  return {
      Value(),
      Value::String(""),
      Value::String("a"),
      Value::String("7"),
      Value::String("true"),
      Value::String(std::string_view("\0", 1)),
      Value::String(std::string_view("\0\0", 2)),
      Value::Number(0),
      Value::Number(1),
      Value::Number(7),
      Value::Number(-7),
      Value::Number(7.000000000000001),
      Value::Number(5e-324),
      Value::Boolean(false),
      Value::Boolean(true),
      Value::List({}),
      Value::List(items.subspan(0, 1)),
      Value::List(items.subspan(1, 1)),
      Value::List(items.subspan(0, 2)),
      Value::List(items.subspan(1, 2)),
      Value::List(items),
  };
}

TEST(Value, KeepsWhatItIsGiven) {
  EXPECT_TRUE(Value().missing());
  EXPECT_EQ(Value::String("Charged").text(), "Charged");
  EXPECT_EQ(Value::Number(-1.5).number(), -1.5);
  EXPECT_TRUE(Value::Boolean(true).boolean());
  EXPECT_FALSE(Value::Boolean(false).boolean());
  EXPECT_FALSE(Value::Boolean(false).missing());
  const Value items[] = {Value::Number(1), Value::String("x")};
  ASSERT_EQ(Value::List(items).items().size(), 2u);
  EXPECT_EQ(Value::List(items).items()[1].text(), "x");
}

TEST(Value, IsTheSameByTypeAndContent) {
  const std::vector<Value> values = Different();
  for (size_t i = 0; i < values.size(); ++i) {
    for (size_t j = 0; j < values.size(); ++j) {
      EXPECT_EQ(SameValue(values[i], values[j]), i == j) << i << ", " << j;
      EXPECT_EQ(ValueFingerprint(values[i]) == ValueFingerprint(values[j]), i == j)
          << i << ", " << j;
    }
  }
  EXPECT_TRUE(SameValue(Value::String(std::string("text")), Value::String("text")));
}

TEST(Value, ZeroHasOneSign) {
  EXPECT_TRUE(SameValue(Value::Number(0.0), Value::Number(-0.0)));
  EXPECT_EQ(ValueFingerprint(Value::Number(0.0)), ValueFingerprint(Value::Number(-0.0)));
  const Value plus[] = {Value::Number(0.0)};
  const Value minus[] = {Value::Number(-0.0)};
  EXPECT_EQ(ValueFingerprint(Value::List(plus)), ValueFingerprint(Value::List(minus)));
}

TEST(ValueFingerprint, IsZeroOnlyForAMissingValue) {
  EXPECT_EQ(ValueFingerprint(Value()), 0u);
  for (int i = 0; i < 100'000; ++i) ASSERT_NE(ValueFingerprint(Value::Number(i)), 0u);
}

// XXH64 by its own library, the value's type for the seed. They are kept in users' states: never
// change them.
TEST(ValueFingerprint, IsTheSameForEver) {
  std::string all;
  for (char c = 1; c < 127; ++c) all += c;
  all += '\x7f';
  const std::pair<std::string_view, uint64_t> strings[] = {
      {"", 0xd5afba1336a3be4b},
      {"a", 0xdec2bc81c3cd46c6},
      {"Charged", 0x41ba44f1d929a622},
      {"0123456789abcdef0123456789abcde", 0xe2cf275e22c74f2d},
      {"0123456789abcdef0123456789abcdef", 0x048b8b580878a4a4},
      {"https://example.com/resources?utm_source=facebook", 0xd7ffec723b4accfc},
      {all, 0x46418d1f0349ad37},
  };
  for (const auto& [text, expected] : strings) {
    EXPECT_EQ(ValueFingerprint(Value::String(text)), expected) << text;
  }
  EXPECT_EQ(ValueFingerprint(Value::Number(0)), 0x91df0c78c3e912c9);
  EXPECT_EQ(ValueFingerprint(Value::Number(1)), 0x476480dc5435c96a);
  EXPECT_EQ(ValueFingerprint(Value::Number(-1.5)), 0xb722b454783b0c24);
  EXPECT_EQ(ValueFingerprint(Value::Boolean(false)), 0xc301f8f02ef4b4aa);
  EXPECT_EQ(ValueFingerprint(Value::Boolean(true)), 0x2759b6277d4f45e1);
  EXPECT_EQ(ValueFingerprint(Value::List({})), 0x08bd8638293521c6);
  const Value items[] = {Value::String("a"), Value::Number(7)};
  EXPECT_EQ(ValueFingerprint(Value::List(items)), 0xf969914cccd5c9b7);
}

}  // namespace
}  // namespace segmentd
