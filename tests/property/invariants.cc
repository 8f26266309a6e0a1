#include "tests/property/invariants.h"

#include <cstddef>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "segment/engine.h"
#include "tests/property/generate.h"

namespace segmentd::property {

namespace pb = segments::v1;

std::string RunAll(const History& history, Playback* run) {
  std::map<std::pair<int, Slot>, bool> member;
  for (size_t i = 0; i < history.items.size(); ++i) {
    const auto step = run->step(history.items[i]);
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

namespace {

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

}  // namespace

std::string InOrderWrong(const History& history) {
  if (std::string wrong = Difference(history); !wrong.empty()) return wrong;
  Playback run(history.settings, history.users);
  for (size_t i = 0; i < history.items.size(); ++i) {
    const auto step = run.step(history.items[i]);
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

std::string ShuffledWrong(const History& history) {
  if (history.items.empty() || history.items.back().kind != Item::Kind::kAdvance) return "";
  Playback shuffled(history.settings, history.users);
  if (std::string wrong = RunAll(history, &shuffled); !wrong.empty()) return wrong;
  const History in_order = InOrder(history);
  Playback sorted(history.settings, history.users);
  if (std::string wrong = RunAll(in_order, &sorted); !wrong.empty()) return wrong;
  return SameMemberships(history, shuffled, sorted);
}

std::string ReplayWrong(const History& history) {
  Playback told(history.settings, history.users);
  // What a replay reads: the records without the clock, and the definitions with the clock of their
  // activation and of the users' turns.
  std::vector<Item> log;
  for (size_t i = 0; i < history.items.size(); ++i) {
    const Item& item = history.items[i];
    const auto step = told.step(item);
    log.push_back(item);
    const bool recorded = item.kind == Item::Kind::kDefine || item.kind == Item::Kind::kDelete ||
                          !step.turns_before.empty() || !step.removed_before.empty();
    log.back().clock = recorded ? told.clock() : Time::Min();
    if (item.kind != Item::Kind::kAdvance) continue;
    log.back().kind = Item::Kind::kRestart;

    Playback replayed(history.settings, history.users);
    for (size_t j = 0; j < i; ++j) replayed.step(log[j]);
    replayed.step({.kind = Item::Kind::kAdvance, .clock = told.clock()});
    for (int u = 0; u < history.users; ++u) {
      const UserState& a = told.user(u);
      const UserState& b = replayed.user(u);
      const std::string where = absl::StrCat("at #", i, " user ", u, " has ");
      if (StateHash(a) != StateHash(b)) return absl::StrCat(where, "another hash");
      if (a.present != b.present) return absl::StrCat(where, "another present");
      if ((a.base == nullptr) != (b.base == nullptr) || (a.base && *a.base != *b.base)) {
        return absl::StrCat(where, "another base");
      }
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

History Tight(History history) {
  history.settings.max_facts = 32;
  history.settings.max_message_ids = 8;
  return history;
}

std::string FewFactsWrong(const History& history) {
  const History tight = Tight(history);
  Playback run(tight.settings, tight.users);
  return RunAll(tight, &run);
}

}  // namespace segmentd::property
