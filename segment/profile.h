// A user's current properties, by dotted path.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "segment/event.h"
#include "segment/time.h"
#include "segment/value.h"

namespace segmentd {

// A value that owns its content.
class OwnedValue {
 public:
  OwnedValue() = default;
  explicit OwnedValue(const Value& value);

  ValueType type() const { return type_; }
  // Valid until *this or *scratch changes; `scratch` holds the items of a list.
  Value view(std::vector<Value>* scratch) const;
  size_t bytes() const;
  bool operator==(const OwnedValue& other) const = default;

 private:
  friend class Profile;
  ValueType type_ = ValueType::kMissing;
  bool boolean_ = false;
  double number_ = 0;
  std::string text_;
  std::vector<OwnedValue> items_;
};

// A moment in the order of a user's events: by event time, then by offset.
struct EventOrder {
  Time time = Time::Min();
  Offset offset;
  auto operator<=>(const EventOrder&) const = default;
};

// A profile command as it is kept until no late event can come before it.
struct ProfileWrite {
  // When the user did it.
  EventOrder order;
  // From when on it is part of the profile: the event time, but for an event that came too late the
  // moment it was read.
  Time effective;
  ProfileOperation operation = ProfileOperation::kSet;
  std::string property;
  OwnedValue value;

  // Its place among the events and writes that take effect.
  EventOrder effective_order() const { return {effective, order.offset}; }
  size_t bytes() const { return property.size() + value.bytes(); }
};

class Profile {
 public:
  // Applies a write. One older than the newest set or delete of its property has no effect, nor has
  // a set or delete older than the property's newest write of any kind: that is how a command that
  // came too late finds its place in the order of event times. False when the write would pass the
  // bounds (256 properties, 16 KiB) and was left out.
  bool apply(const ProfileWrite& write);

  // Missing when there is none. Valid until the profile or *scratch changes.
  Value find(std::string_view property, std::vector<Value>* scratch) const;

  struct Property {
    std::string name;
    // Missing: deleted; kept as long as its order can matter (until the bounds need its place).
    OwnedValue value;
    EventOrder newest_absolute;
    EventOrder newest;
    bool operator==(const Property&) const = default;
  };
  // Sorted by name.
  const std::vector<Property>& properties() const { return properties_; }
  bool empty() const { return properties_.empty(); }
  // For the codec: properties sorted by name.
  static Profile Restore(std::vector<Property> properties);
  bool operator==(const Profile&) const = default;

 private:
  std::vector<Property> properties_;
};

}  // namespace segmentd
