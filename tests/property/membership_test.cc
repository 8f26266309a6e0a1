// The specification's invariants, over random definitions and histories.

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "segment/engine.h"
#include "tests/property/check.h"
#include "tests/property/playback.h"

namespace segmentd::property {
namespace {

namespace pb = segments::v1;

// Runs all of a history, and says what is wrong with the order of the changes told.
std::string RunAll(const History& history, Playback* run) {
  std::map<std::pair<int, Slot>, bool> member;
  for (size_t i = 0; i < history.items.size(); ++i) {
    const auto step = run->step(history.items[i], Offset(static_cast<int64_t>(i)));
    for (int u = 0; u < history.users; ++u) {
      for (const Told& told : step.told[static_cast<size_t>(u)]) {
        bool& is = member[{u, told.slot}];
        const bool was = is;
        if (told.action == pb::ADD) is = true;
        if (told.action == pb::REMOVE) is = false;
        if (told.action == pb::QUALIFIED ? !was : was == is) {
          return absl::StrCat("after #", i, ": user ", u, " is told, being ",
                              was ? "a member: " : "no member: ", Describe(told));
        }
      }
      const UserState& user = run->user(u);
      for (const auto& [key, is] : member) {
        if (key.first == u && IsMember(user, key.second) != is) {
          return absl::StrCat("after #", i, ": user ", u, " was told to be ", is ? "" : "no ",
                              "member of slot ", key.second, ", and is otherwise");
        }
      }
      if (const std::string wrong = Disorder(user, history.settings); !wrong.empty()) {
        return absl::StrCat("after #", i, ": user ", u, ": ", wrong);
      }
    }
  }
  return "";
}

std::string SameMemberships(const History& history, const Playback& a, const Playback& b) {
  for (int u = 0; u < history.users; ++u) {
    for (Slot slot = 0; slot < 8; ++slot) {
      if (IsMember(a.user(u), slot) != IsMember(b.user(u), slot)) {
        return absl::StrCat("user ", u, IsMember(a.user(u), slot) ? " is" : " is not", " in slot ",
                            slot, ", and otherwise the other way");
      }
    }
  }
  return "";
}

// The histories are worth running: all that can be told is, all that can become of an event does.
TEST(Histories, HaveEverything) {
  std::set<pb::Reason> reasons;
  std::set<Outcome> outcomes;
  bool base = false;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    const History history =
        Generate(seed, {.edits = true, .duplicates = true, .little_lateness = true});
    Playback run(history.settings, history.users);
    for (size_t i = 0; i < history.items.size(); ++i) {
      const auto step = run.step(history.items[i], Offset(static_cast<int64_t>(i)));
      if (step.outcome.has_value()) outcomes.insert(*step.outcome);
      for (const auto& all : step.told) {
        for (const Told& told : all) reasons.insert(told.reason);
      }
    }
    for (int u = 0; u < history.users; ++u) base = base || run.user(u).base_time != Time::Min();
  }
  EXPECT_THAT(reasons,
              testing::UnorderedElementsAre(pb::TRIGGER, pb::INACTION, pb::EXPIRED, pb::EXIT_EVENT,
                                            pb::LATE_EVENT, pb::SEGMENT_DELETED));
  EXPECT_EQ(outcomes.size(), 4u);
  EXPECT_TRUE(base);
}

// In order: F's changes with F's times, reasons and causes, and never a correction.
std::string InOrderWrong(const History& history) {
  if (std::string wrong = Difference(history); !wrong.empty()) return wrong;
  Playback run(history.settings, history.users);
  for (size_t i = 0; i < history.items.size(); ++i) {
    const auto step = run.step(history.items[i], Offset(static_cast<int64_t>(i)));
    for (const auto& all : step.told) {
      for (const Told& told : all) {
        if (told.reason == pb::LATE_EVENT) {
          return absl::StrCat("after #", i, ": a correction in order: ", Describe(told));
        }
      }
    }
  }
  return "";
}

TEST(Membership, InOrderTheChangesAreFs) {
  Check({.in_order = true}, 1500, InOrderWrong);
}

TEST(Membership, InOrderAcrossEdits) {
  Check({.in_order = true, .edits = true}, 1000, InOrderWrong);
}

TEST(Membership, OutOfOrder) {
  Check({}, 2000, Difference);
}

TEST(Membership, OutOfOrderWithDuplicates) {
  Check({.duplicates = true}, 1000, Difference);
}

TEST(Membership, OutOfOrderAcrossEdits) {
  Check({.edits = true, .duplicates = true}, 1500, Difference);
}

TEST(Membership, WithProducerTimes) {
  Check({.edits = true, .producer_times = true, .filters = true}, 1500, Difference);
}

TEST(Membership, LongHistories) {
  Check({.duplicates = true, .most_records = 120}, 60, Difference);
}

TEST(Membership, OutOfOrderWithFilters) {
  Check({.edits = true, .filters = true}, 1000, Difference);
}

TEST(Membership, WithLittleLateness) {
  Check({.filters = true, .little_lateness = true}, 1500, Difference);
}

TEST(Membership, LongHistoriesWithLittleLateness) {
  Check({.filters = true, .little_lateness = true, .most_records = 100}, 100, Difference);
}

// The order of arrival, within max_lateness, does not matter in the end.
TEST(Membership, ShuffledEndsInTheSame) {
  Check({.never_too_late = true}, 2000, [](const History& history) -> std::string {
    if (history.items.empty() || history.items.back().kind != Item::Kind::kAdvance) return "";
    Playback shuffled(history.settings, history.users);
    if (std::string wrong = RunAll(history, &shuffled); !wrong.empty()) return wrong;
    const History in_order = InOrder(history);
    Playback sorted(history.settings, history.users);
    if (std::string wrong = RunAll(in_order, &sorted); !wrong.empty()) return wrong;
    return SameMemberships(history, shuffled, sorted);
  });
}

// When the clock was told does not matter: recovery rests on this.
std::string ReplayWrong(const History& history) {
  Playback told(history.settings, history.users);
  // What a replay reads: the records without the clock, and the definitions with the clock of their
  // activation.
  std::vector<Item> log;
  for (size_t i = 0; i < history.items.size(); ++i) {
    const Item& item = history.items[i];
    told.step(item, Offset(static_cast<int64_t>(i)));
    log.push_back(item);
    log.back().clock = item.kind == Item::Kind::kDefine || item.kind == Item::Kind::kDelete
                           ? told.clock()
                           : Time::Min();
    if (item.kind != Item::Kind::kAdvance) continue;
    log.back().kind = Item::Kind::kRestart;

    Playback replayed(history.settings, history.users);
    for (size_t j = 0; j < i; ++j) replayed.step(log[j], Offset(static_cast<int64_t>(j)));
    replayed.step({.kind = Item::Kind::kAdvance, .clock = told.clock()},
                  Offset(static_cast<int64_t>(i)));
    for (int u = 0; u < history.users; ++u) {
      const UserState& a = told.user(u);
      const UserState& b = replayed.user(u);
      const std::string where = absl::StrCat("at #", i, " user ", u, " has ");
      if (StateHash(a) != StateHash(b)) return absl::StrCat(where, "another hash");
      if (a.present != b.present) return absl::StrCat(where, "another present");
      if ((a.base == nullptr) != (b.base == nullptr) || (a.base && *a.base != *b.base)) {
        return absl::StrCat(where, "another base");
      }
      if (a.base_time != b.base_time) return absl::StrCat(where, "another base time");
      if (a.facts != b.facts) return absl::StrCat(where, "other facts");
      if (a.writes.size() != b.writes.size()) return absl::StrCat(where, "other writes");
      if (a.seen != b.seen) return absl::StrCat(where, "other messages seen");
      if (a.newest_event != b.newest_event) return absl::StrCat(where, "another newest event");
      if (a.decided != b.decided) {
        return absl::StrCat(where, "decided up to ", FormatTimestamp(a.decided),
                            ", replayed up to ", FormatTimestamp(b.decided));
      }
    }
  }
  return "";
}

TEST(Membership, TheStateIsAFunctionOfOffsetAndClock) {
  Check({.duplicates = true}, 1500, ReplayWrong);
}

TEST(Membership, TheStateIsAFunctionOfOffsetAndClockAcrossEdits) {
  Check({.edits = true, .duplicates = true}, 1000, ReplayWrong);
}

History Tight(History history) {
  history.settings.max_facts = 32;
  history.settings.max_message_ids = 8;
  return history;
}

// Bounds reached: what is remembered is less, but never out of order or without bound.
TEST(Membership, FewFacts) {
  Check({.edits = true, .duplicates = true, .filters = true, .most_records = 150}, 200,
        [](const History& history) -> std::string {
          const History tight = Tight(history);
          Playback run(tight.settings, tight.users);
          return RunAll(tight, &run);
        });
}

TEST(Membership, WithFewFactsTheStateIsAFunctionOfOffsetAndClock) {
  Check({.duplicates = true, .filters = true, .most_records = 150}, 40,
        [](const History& history) { return ReplayWrong(Tight(history)); });
}

}  // namespace
}  // namespace segmentd::property
