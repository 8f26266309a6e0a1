// Explain's `until`: with no further event, a membership or a condition stands as it does until
// then, and turns then; without an `until` it does not turn. The engine itself says what comes.

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "segment/timestamp.h"
#include "state/user_codec.h"
#include "tests/property/check.h"
#include "tests/property/playback.h"

namespace segmentd::property {
namespace {

namespace pb = segments::v1;

// Of a tree what time can turn, by path. What waits for an event is told by the root alone.
void Gather(const pb::Finding& finding, int depth, std::map<std::string, const pb::Finding*>* all) {
  const std::string& path = finding.path();
  if (depth == 0 || path.starts_with("past_behavior") || path.starts_with("live.filter")) {
    all->emplace(absl::StrCat(path, depth == 0 ? " (whole)" : ""), &finding);
  }
  for (const pb::Finding& child : finding.children()) Gather(child, depth + 1, all);
}

std::map<std::string, const pb::Finding*> Gather(const pb::Explanation& explanation) {
  std::map<std::string, const pb::Finding*> all;
  Gather(explanation.root(), 0, &all);
  return all;
}

std::string Until(const pb::Finding& finding) {
  return finding.has_until() ? absl::StrCat("until ", FormatTimestamp(TimeOf(finding.until())))
                             : "without an until";
}

UserState Copy(const UserState& user) {
  std::string image;
  AppendUserImage(user, Offset(0), &image);
  UserState copy;
  Offset included;
  EXPECT_TRUE(ParseUserImage(image, &copy, &included).ok());
  return copy;
}

std::string Wrong(const Engine& engine, Slot slot, Time clock, const UserState& user) {
  const pb::Explanation told = engine.explain(slot, clock, user);
  const auto findings = Gather(told);
  const Time now = TimeOf(told.now());

  std::set<Time> moments;
  for (const char* text : {"1ms", "1s", "1m", "7m", "1h", "5h", "1d", "2d", "8d", "32d", "366d"}) {
    moments.insert(now + ParseDuration(text).value());
  }
  for (const auto& [path, finding] : findings) {
    if (!finding->has_until()) continue;
    moments.insert(TimeOf(finding->until()));
    moments.insert(TimeOf(finding->until()) - Duration::Millis(1));
  }
  Engine runner(std::shared_ptr<const RuleSet>(std::shared_ptr<void>(), &engine.rules()),
                engine.settings());
  UserState ahead = Copy(user);
  Changes changes;
  constexpr int kMostDeadlines = 30;
  runner.take_over(ahead);
  for (int i = 0; i < kMostDeadlines && ahead.next_deadline != Time::Max(); ++i) {
    const Time moment = ahead.next_deadline;
    moments.insert(moment);
    runner.advance(moment, ahead, changes);
  }

  ahead = Copy(user);
  for (const Time moment : moments) {
    if (moment <= now) continue;
    runner.advance(moment, ahead, changes);
    const pb::Explanation then = runner.explain(slot, moment, ahead);
    const auto there = Gather(then);
    for (const auto& [path, finding] : findings) {
      const auto it = there.find(path);
      if (it == there.end()) return absl::StrCat(path, " is gone");
      const bool before = !finding->has_until() || moment < TimeOf(finding->until());
      const bool at = finding->has_until() && moment == TimeOf(finding->until());
      const bool same = finding->holds() == it->second->holds();
      if (before ? same : !at || !same) continue;
      return absl::StrCat("slot ", slot, ": ", path, " was told ", Until(*finding), " at ",
                          FormatTimestamp(now), "; at ", FormatTimestamp(moment),
                          same ? " it is the same" : " it is the other");
    }
  }
  return "";
}

std::string UntilWrong(const History& history) {
  Playback run(history.settings, history.users);
  for (size_t i = 0; i < history.items.size(); ++i) {
    run.step(history.items[i]);
    if (i % 4 != 0 && i + 1 != history.items.size()) continue;
    for (int u = 0; u < history.users; ++u) {
      if (!run.settled(u)) continue;
      for (Slot slot = 0; slot < 8; ++slot) {
        const ActiveSegment* segment = run.engine().rules().segment(slot);
        if (segment == nullptr || segment->deleting) continue;
        const std::string wrong = Wrong(run.engine(), slot, run.clock(), run.user(u));
        if (!wrong.empty()) return absl::StrCat("after #", i, ": user ", u, ": ", wrong);
      }
    }
  }
  return "";
}

TEST(Until, OfLiveSegments) {
  Check({.duplicates = true, .filters = true}, 200, UntilWrong);
}

TEST(Until, OfPastBehavior) {
  Check({.past = true}, 200, UntilWrong);
}

TEST(Until, OfDates) {
  Check({.dates = true}, 30, UntilWrong);
}

TEST(Until, OfSequences) {
  Check({.sequences = true}, 200, UntilWrong);
}

TEST(Until, OfAllKinds) {
  Check({.edits = true,
         .duplicates = true,
         .past = true,
         .live = true,
         .dates = true,
         .sequences = true},
        100, UntilWrong);
}

TEST(Until, AcrossRemovals) {
  Check({.edits = true, .removals = true, .past = true, .live = true}, 100, UntilWrong);
}

}  // namespace
}  // namespace segmentd::property
