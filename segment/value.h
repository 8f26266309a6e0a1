// The value of a property: a view, 16 bytes, that owns nothing.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/types/span.h"

namespace segmentd {

// Persisted: never change or reuse a number.
enum class ValueType : uint8_t { kMissing = 0, kString = 1, kNumber = 2, kBoolean = 3, kList = 4 };

class Value {
 public:
  constexpr Value() = default;
  static Value String(std::string_view text) {
    Value v(ValueType::kString, static_cast<uint32_t>(text.size()));
    v.chars_ = text.data();
    return v;
  }
  // Finite.
  static Value Number(double number) {
    Value v(ValueType::kNumber, 0);
    v.number_ = number;
    return v;
  }
  static Value Boolean(bool boolean) { return Value(ValueType::kBoolean, boolean ? 1 : 0); }
  // Of strings, numbers and booleans; no lists in lists.
  static Value List(absl::Span<const Value> items) {
    Value v(ValueType::kList, static_cast<uint32_t>(items.size()));
    v.items_ = items.data();
    return v;
  }

  ValueType type() const { return type_; }
  bool missing() const { return type_ == ValueType::kMissing; }
  std::string_view text() const { return {chars_, size_}; }
  double number() const { return number_; }
  bool boolean() const { return size_ != 0; }
  absl::Span<const Value> items() const { return {items_, size_}; }

 private:
  constexpr Value(ValueType type, uint32_t size) : type_(type), size_(size) {}

  ValueType type_ = ValueType::kMissing;
  uint32_t size_ = 0;
  union {
    const char* chars_ = nullptr;
    double number_;
    const Value* items_;
  };
};
static_assert(sizeof(Value) == 16);

// Same type and same content; numbers by value (so 0.0 equals -0.0).
bool SameValue(const Value& a, const Value& b);

// A hash that agrees with SameValue, the same on every machine and in every version: it is kept in
// users' states. 0 for a missing value, and for no other.
uint64_t ValueFingerprint(const Value& value);

}  // namespace segmentd
