// The settings that memberships depend on. A task records them, and a replay runs under the
// recorded ones.
#pragma once

#include <cstddef>
#include <cstdint>

#include "segment/time.h"

namespace segmentd {

struct Settings {
  // An event older than its own record time, or than the user's newest event, by more than this
  // takes no part in triggers.
  Duration max_lateness = Duration::Hours(2);
  // How long deadlines wait for events still on their way.
  Duration deadline_grace = Duration::Seconds(1);
  // An event time ahead of its record time by more is replaced by the record time.
  Duration max_future_skew = Duration::Minutes(2);
  // Bounds of what is kept of a user for late events; past them the oldest goes, as if max_lateness
  // were shorter for this user.
  uint32_t max_facts = 1024;
  uint32_t max_message_ids = 4096;
};

// Limits of section "Definitions" and of what is kept per user.
inline constexpr int kMaxSegments = 2500;
// States keep a version in 32 bits.
inline constexpr int64_t kMaxSegmentVersion = INT32_MAX;
inline constexpr int kMaxTriggers = 10;
inline constexpr int kMaxConditions = 100;
inline constexpr int kMaxDepth = 8;
inline constexpr int kMaxNameLength = 200;
inline constexpr int kMaxIdLength = 64;
inline constexpr int kMaxValueBytes = 1024;
inline constexpr int kMaxPendings = 25;
inline constexpr int kMaxPageCount = 1000;
inline constexpr int kMinSteps = 2;
inline constexpr int kMaxSteps = 10;
// Values kept of a user for the conditions on past events of one definition: times of events for
// counts, samples for sums and averages.
inline constexpr int kMaxKeptPerUser = 20'000;
inline constexpr int kMaxProfileProperties = 256;
inline constexpr int kMaxProfileBytes = 16 * 1024;
// Of the profile commands of a user that are kept for late events, their properties and values.
inline constexpr size_t kMaxWriteBytes = size_t{256} * 1024;
inline constexpr Duration kMaxWindow = Duration::Days(540);
inline constexpr Duration kMinWithin = Duration::Seconds(1);
inline constexpr Duration kMaxWithin = Duration::Days(90);
inline constexpr Duration kSessionGap = Duration::Minutes(30);
// A date that is further past when it becomes known does not fire.
inline constexpr Duration kLatestDate = Duration::Hours(1);

}  // namespace segmentd
