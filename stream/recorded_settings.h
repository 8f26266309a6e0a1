// The settings that memberships depend on, as a task record keeps them.
#pragma once

#include "proto/segments/v1/state.pb.h"
#include "segment/settings.h"

namespace segmentd {

// Without the version of the time zone data, which is no part of Settings.
segments::v1::DecisionSettings Recorded(const Settings& settings);
Settings FromRecorded(const segments::v1::DecisionSettings& recorded);

// Memberships are decided alike under both.
bool Same(const Settings& a, const Settings& b);

}  // namespace segmentd
