// One change of a membership, as the engine finds it; who the user is and which number it gets is
// added by the task.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "proto/segments/v1/change.pb.h"
#include "segment/time.h"

namespace segmentd {

using Action = segments::v1::Action;
using Reason = segments::v1::Reason;

// A segment's number within a task: dense, stable while any user's state names it.
using Slot = uint32_t;

struct Change {
  Action action;
  Slot slot;
  Time at;
  Reason reason;
  // The event behind it; empty where there is none. A view into the RuleSet or into the event being
  // applied.
  std::string_view cause_event;
  Time cause_at;
  // Only of the event being applied.
  std::string_view cause_message_id;
};

using Changes = std::vector<Change>;

}  // namespace segmentd
