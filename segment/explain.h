// Why a user is or is not in a segment, in words and as data.
#pragma once

#include "proto/segments/v1/membership_service.pb.h"
#include "segment/change.h"
#include "segment/rule_set.h"
#include "segment/user_state.h"

namespace segmentd {

// Of a slot that runs; `now` is the user's now.
segments::v1::Explanation ExplainMembership(const RuleSet& rules, Slot slot, Time now,
                                            const UserState& user);

}  // namespace segmentd
