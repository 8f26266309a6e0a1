#include "segment/profile.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "segment/settings.h"

namespace segmentd {
namespace {

// What an item of a list counts beside its content, so that a list of empty strings is bounded too.
constexpr size_t kItemBytes = 8;

size_t PropertyBytes(const Profile::Property& property) {
  return property.name.size() + property.value.bytes();
}

bool Tombstone(const Profile::Property& property) {
  return property.value.type() == ValueType::kMissing;
}

// The items of a list, or the scalar as the only one.
template <typename Visit>
void ForEachItem(const OwnedValue& value, const std::vector<OwnedValue>& items, Visit visit) {
  if (value.type() == ValueType::kList) {
    for (const OwnedValue& item : items) visit(item);
  } else if (value.type() != ValueType::kMissing) {
    visit(value);
  }
}

}  // namespace

OwnedValue::OwnedValue(const Value& value) : type_(value.type()) {
  switch (type_) {
    case ValueType::kMissing:
      break;
    case ValueType::kString:
      text_ = value.text();
      break;
    case ValueType::kNumber:
      number_ = value.number();
      break;
    case ValueType::kBoolean:
      boolean_ = value.boolean();
      break;
    case ValueType::kList:
      items_.reserve(value.items().size());
      for (const Value& item : value.items()) items_.emplace_back(item);
      break;
  }
}

Value OwnedValue::view(std::vector<Value>* scratch) const {
  switch (type_) {
    case ValueType::kMissing:
      break;
    case ValueType::kString:
      return Value::String(text_);
    case ValueType::kNumber:
      return Value::Number(number_);
    case ValueType::kBoolean:
      return Value::Boolean(boolean_);
    case ValueType::kList:
      scratch->clear();
      scratch->reserve(items_.size());
      // Items are no lists, so that they need no scratch of their own.
      for (const OwnedValue& item : items_) scratch->push_back(item.view(nullptr));
      return Value::List(*scratch);
  }
  return Value();
}

size_t OwnedValue::bytes() const {
  switch (type_) {
    case ValueType::kMissing:
      return 0;
    case ValueType::kString:
      return text_.size();
    case ValueType::kNumber:
      return sizeof(double);
    case ValueType::kBoolean:
      return 1;
    case ValueType::kList:
      break;
  }
  size_t bytes = 0;
  for (const OwnedValue& item : items_) bytes += kItemBytes + item.bytes();
  return bytes;
}

bool Profile::apply(const ProfileWrite& write) {
  auto at =
      std::lower_bound(properties_.begin(), properties_.end(), write.property,
                       [](const Property& p, const std::string& name) { return p.name < name; });
  const bool known = at != properties_.end() && at->name == write.property;
  const bool absolute =
      write.operation == ProfileOperation::kSet || write.operation == ProfileOperation::kDelete;
  if (known && write.order < (absolute ? at->newest : at->newest_absolute)) return true;
  // Bounds the work of the commands on lists, too.
  if (write.value.bytes() > kMaxProfileBytes) return false;

  static const OwnedValue kNone;
  const OwnedValue& old = known ? at->value : kNone;
  OwnedValue next;
  switch (write.operation) {
    case ProfileOperation::kSet:
      next = write.value;
      break;
    case ProfileOperation::kDelete:
      break;
    case ProfileOperation::kAdd:
      next = old;
      if (write.value.type() == ValueType::kMissing) break;
      if (old.type() != ValueType::kList) {
        next = OwnedValue();
        next.type_ = ValueType::kList;
        if (old.type() != ValueType::kMissing) next.items_.push_back(old);
      }
      ForEachItem(write.value, write.value.items_, [&next](const OwnedValue& item) {
        if (std::find(next.items_.begin(), next.items_.end(), item) == next.items_.end()) {
          next.items_.push_back(item);
        }
      });
      break;
    case ProfileOperation::kRemove:
      if (old.type() == ValueType::kList) {
        next = old;
        ForEachItem(write.value, write.value.items_,
                    [&next](const OwnedValue& item) { std::erase(next.items_, item); });
        // A list that loses its last value is gone; one that was empty before stays.
        if (next.items_.empty() && !old.items_.empty()) next = OwnedValue();
      } else {
        bool removed = false;
        ForEachItem(write.value, write.value.items_,
                    [&](const OwnedValue& item) { removed = removed || item == old; });
        if (!removed) next = old;
      }
      break;
    case ProfileOperation::kIncrement:
    case ProfileOperation::kDecrement: {
      next = old;
      const bool number = old.type() == ValueType::kNumber || old.type() == ValueType::kMissing;
      if (!number || write.value.type() != ValueType::kNumber) break;
      const double sum = write.operation == ProfileOperation::kIncrement
                             ? old.number_ + write.value.number_
                             : old.number_ - write.value.number_;
      if (!std::isfinite(sum)) break;
      next.type_ = ValueType::kNumber;
      next.number_ = sum;
      break;
    }
  }

  const bool tombstone = next.type() == ValueType::kMissing;
  size_t count = known ? properties_.size() : properties_.size() + 1;
  size_t bytes = write.property.size() + next.bytes();
  size_t evictable_count = 0;
  size_t evictable_bytes = 0;
  for (const Property& p : properties_) {
    if (known && &p == &*at) continue;
    bytes += PropertyBytes(p);
    if (Tombstone(p)) {
      ++evictable_count;
      evictable_bytes += PropertyBytes(p);
    }
  }
  if (count - evictable_count > kMaxProfileProperties ||
      bytes - evictable_bytes > kMaxProfileBytes) {
    // A deletion only ever makes room; without a place for the tombstone it still has happened.
    if (!tombstone) return false;
    if (known) properties_.erase(at);
    return true;
  }
  size_t index = static_cast<size_t>(at - properties_.begin());
  while (count > kMaxProfileProperties || bytes > kMaxProfileBytes) {
    size_t oldest = properties_.size();
    for (size_t i = 0; i < properties_.size(); ++i) {
      if (!Tombstone(properties_[i]) || (known && i == index)) continue;
      if (oldest == properties_.size() || properties_[i].newest < properties_[oldest].newest)
        oldest = i;
    }
    --count;
    bytes -= PropertyBytes(properties_[oldest]);
    properties_.erase(properties_.begin() + static_cast<std::ptrdiff_t>(oldest));
    if (oldest < index) --index;
  }
  at = properties_.begin() + static_cast<std::ptrdiff_t>(index);
  if (!known) at = properties_.insert(at, Property{.name = write.property});
  at->value = std::move(next);
  at->newest = std::max(at->newest, write.order);
  if (absolute) at->newest_absolute = std::max(at->newest_absolute, write.order);
  return true;
}

Value Profile::find(std::string_view property, std::vector<Value>* scratch) const {
  auto at =
      std::lower_bound(properties_.begin(), properties_.end(), property,
                       [](const Property& p, std::string_view name) { return p.name < name; });
  if (at == properties_.end() || at->name != property) return Value();
  return at->value.view(scratch);
}

Profile Profile::Restore(std::vector<Property> properties) {
  Profile profile;
  profile.properties_ = std::move(properties);
  return profile;
}

}  // namespace segmentd
