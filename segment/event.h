// One understood input record, as the engine sees it: views into a buffer that outlives the call.
#pragma once

#include <compare>
#include <cstdint>
#include <string_view>

#include "absl/types/span.h"

#include "segment/time.h"
#include "segment/value.h"

namespace segmentd {

// A record's place in its partition.
class Offset {
 public:
  constexpr Offset() = default;
  constexpr explicit Offset(int64_t value) : value_(value) {}
  constexpr int64_t value() const { return value_; }
  constexpr Offset next() const { return Offset(value_ + 1); }
  constexpr auto operator<=>(const Offset&) const = default;

 private:
  int64_t value_ = 0;
};

// Index of an event property that some definition refers to, in RuleSet::fields().
using FieldIndex = uint32_t;

struct EventProperty {
  FieldIndex field;
  Value value;
};

// Persisted: never change or reuse a number.
enum class ProfileOperation : uint8_t {
  kSet = 1,
  kDelete = 2,
  kAdd = 3,
  kRemove = 4,
  kIncrement = 5,
  kDecrement = 6
};

// A command on one property of the user's profile, named by its dotted path.
struct ProfileCommand {
  ProfileOperation operation;
  std::string_view property;
  Value value;
};

struct Event {
  // The user's ID is not here: whoever calls the engine has found the user's state by it.
  //
  // Empty in a record of profile commands alone. "Page Viewed" and "Screen Viewed" are page and
  // screen events.
  std::string_view name;
  // Event time. The decoder has replaced an absent one, and one too far in the future, by the
  // record time.
  Time time;
  Time record_time;
  Offset offset;
  // Empty: never a duplicate.
  std::string_view message_id;
  // Only fields that a definition refers to; a field at most once.
  absl::Span<const EventProperty> properties;
  // In the order of the record.
  absl::Span<const ProfileCommand> profile;
};

// Null when the event has no value for it.
inline const EventProperty* FindProperty(absl::Span<const EventProperty> properties,
                                         FieldIndex field) {
  for (const EventProperty& property : properties) {
    if (property.field == field) return property.value.missing() ? nullptr : &property;
  }
  return nullptr;
}

inline constexpr std::string_view kPageViewed = "Page Viewed";
inline constexpr std::string_view kScreenViewed = "Screen Viewed";

}  // namespace segmentd
