// What the records before a rule began say of one user, as far as the rule needs it. Made by
// History, taken in by Engine::build().
#pragma once

#include <cstdint>
#include <vector>

#include "segment/measure.h"
#include "segment/profile.h"
#include "segment/segment_states.h"
#include "segment/user_state.h"

namespace segmentd {

struct Past {
  // One for each measure of the rule; none where nothing was counted, but for what is ahead.
  std::vector<MeasureState> measures;
  // Of a filter: what a late trigger may come before, oldest `from` first.
  std::vector<Addition> ahead;
  // So many more were too many, and are in the measures.
  int64_t cut_off = 0;
  // Of events that had a part in it and may come again, in the order of offsets.
  std::vector<SeenMessage> messages;
  // The newest of each common property that the rule reads.
  std::vector<ProfileWrite> common;
};

}  // namespace segmentd
