// What a record's body says, whatever its format, before it is held against the record's key and
// time.
#pragma once

#include <optional>
#include <string_view>

#include "absl/types/span.h"

#include "segment/event.h"
#include "segment/time.h"

namespace segmentd {

struct Body {
  std::string_view user;
  std::string_view name;
  std::string_view message_id;
  // Nothing: the body has none.
  std::optional<Time> time;
  absl::Span<const EventProperty> properties;
  absl::Span<const ProfileCommand> profile;
};

}  // namespace segmentd
