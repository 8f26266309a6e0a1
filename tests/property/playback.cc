#include "tests/property/playback.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "state/user_codec.h"
#include "tests/property/conditions.h"

namespace segmentd::property {
namespace {

// Values as the engine takes them, and the lists that they look into.
class Views {
 public:
  Value operator()(const Scalar& scalar) {
    if (const auto* text = std::get_if<std::string>(&scalar)) return Value::String(*text);
    if (const auto* number = std::get_if<double>(&scalar)) return Value::Number(*number);
    return Value::Boolean(std::get<bool>(scalar));
  }
  Value operator()(const Datum& datum) {
    if (const auto* text = std::get_if<std::string>(&datum)) return Value::String(*text);
    if (const auto* number = std::get_if<double>(&datum)) return Value::Number(*number);
    if (const auto* boolean = std::get_if<bool>(&datum)) return Value::Boolean(*boolean);
    if (const auto* list = std::get_if<std::vector<Scalar>>(&datum)) {
      auto& items = lists_.emplace_back();
      for (const Scalar& item : *list) items.push_back((*this)(item));
      return Value::List(items);
    }
    return Value();
  }

 private:
  std::deque<std::vector<Value>> lists_;
};

Told Copy(const Change& change) {
  return {change.action,
          change.slot,
          change.at,
          change.reason,
          std::string(change.cause_event),
          change.cause_event.empty() ? Time() : change.cause_at,
          std::string(change.cause_message_id)};
}

std::vector<Told> Copy(const Changes& changes) {
  std::vector<Told> told;
  for (const Change& change : changes) told.push_back(Copy(change));
  return told;
}

}  // namespace

Playback::Playback(const Settings& settings, int users, bool in_portions)
    : settings_(settings), in_portions_(in_portions), users_(static_cast<size_t>(users)) {
  use_rules();
}

void Playback::use_rules() {
  std::vector<ActiveSegment> segments;
  for (const auto& [slot, segment] : segments_) segments.push_back(segment);
  auto rules = RuleSet::Compile(std::move(segments));
  if (!rules.ok()) {
    // The generator writes only what can be run.
    std::abort();
  }
  if (!engine_.has_value()) {
    engine_.emplace(*rules, settings_);
  } else {
    engine_->use(*rules);
  }
}

void Playback::settle(int index, Changes* changes, std::vector<std::pair<int, Slot>>* removed,
                      std::vector<std::pair<int, Slot>>* turns) {
  UserState& user = users_[static_cast<size_t>(index)];
  engine_->take_over(user);
  for (const auto& [slot, segment] : segments_) {
    if (!segment.deleting) continue;
    engine_->remove(slot, clock_, user, *changes);
    removed->emplace_back(index, slot);
  }
  std::vector<Slot> built;
  for (const auto& [slot, segment] : segments_) {
    if (segment.built) continue;
    Past past;
    const bool any = histories_.at(slot)->take(absl::StrCat(index), slot, user.seen, &past);
    engine_->build(slot, clock_, any ? &past : nullptr, reasons_.at(slot), user, *changes);
    turns->emplace_back(index, slot);
    built.push_back(slot);
  }
  engine_->end_turn(built, user);
  unsettled_.erase(index);
}

void Playback::finish_settling() {
  bool built = false;
  for (auto& [slot, segment] : segments_) {
    built = built || !segment.built;
    segment.built = true;
  }
  histories_.clear();
  const auto deleted = [](const auto& entry) { return entry.second.deleting; };
  if (std::erase_if(segments_, deleted) == 0 && !built) return;
  use_rules();
  for (UserState& user : users_) engine_->take_over(user);
}

// As the definition will count the records so far.
void Playback::read_history(Slot slot, Offset until) {
  auto rules = RuleSet::Compile({segments_.at(slot)});
  if (!rules.ok()) std::abort();
  auto& history = histories_[slot];
  history = std::make_unique<segmentd::History>(*rules, settings_);
  for (const auto& [offset, record] : records_) {
    if (offset >= until) continue;
    with_event(record, offset, (*rules)->fields(), [&, user = record.user](const Event& event) {
      history->add(absl::StrCat(user), event);
    });
  }
  history->finish();
}

bool Playback::stands_alone(const ActiveSegment& segment) const {
  return References(ExpressionOf(segment.segment)).empty() &&
         std::none_of(segments_.begin(), segments_.end(), [&](const auto& entry) {
           const auto referred = References(ExpressionOf(entry.second.segment));
           return referred.contains(segment.segment.id());
         });
}

bool Playback::goes_on(const Item& item) const {
  if (item.kind == Item::Kind::kRestart) return item.amid_turns;
  if (item.kind != Item::Kind::kDefine && item.kind != Item::Kind::kDelete) return false;
  const auto slot = segments_.find(item.slot);
  const bool is_free = slot == segments_.end() || !slot->second.deleting;
  return in_portions_ && is_free && histories_.empty();
}

void Playback::settle_all(Step* step) {
  while (!unsettled_.empty()) {
    const int index = *unsettled_.begin();
    Changes changes;
    settle(index, &changes, &step->removed_before, &step->turns_before);
    for (Told& told : Copy(changes)) {
      step->told[static_cast<size_t>(index)].push_back(std::move(told));
    }
  }
  finish_settling();
}

template <typename Use>
void Playback::with_event(const Record& record, Offset offset, const Fields& fields,
                          const Use& use) {
  Views views;
  std::vector<EventProperty> properties;
  for (FieldIndex field = 0; field < fields.size(); ++field) {
    const auto at = record.properties.find(fields.path(field));
    if (at != record.properties.end()) properties.push_back({field, views(at->second)});
  }
  std::vector<ProfileCommand> commands;
  for (const Command& command : record.profile) {
    commands.push_back({command.operation, command.property, views(command.value)});
  }
  const Event event{.name = record.name,
                    .time = record.time,
                    .record_time = record.record_time,
                    .offset = offset,
                    .message_id = record.message_id,
                    .properties = properties,
                    .profile = commands};
  use(event);
}

Outcome Playback::apply(const Record& record, Changes* changes) {
  Outcome outcome = Outcome::kApplied;
  const Offset offset = of_next_record_;
  of_next_record_ = offset.next();
  records_.emplace_back(offset, record);
  with_event(record, offset, engine_->rules().fields(), [&](const Event& event) {
    outcome = engine_->apply(event, clock_, users_[static_cast<size_t>(record.user)], *changes);
  });
  return outcome;
}

Playback::Step Playback::step(const Item& item) {
  Step step;
  ++steps_;
  const Offset offset = of_next_record_;
  step.told.resize(users_.size());
  clock_ = std::max(clock_, item.clock);
  if (item.kind == Item::Kind::kRecord) {
    newest_record_ = std::max(newest_record_, item.record.record_time);
  } else {
    // Between two steps the clock has followed all records read.
    clock_ = std::max(clock_, newest_record_ - settings_.deadline_grace);
    if (!goes_on(item)) settle_all(&step);
  }
  const auto advance_all = [&] {
    for (size_t i = 0; i < users_.size(); ++i) {
      Changes changes;
      engine_->advance(clock_, users_[i], changes);
      for (Told& told : Copy(changes)) step.told[i].push_back(std::move(told));
    }
  };
  const auto settle_some = [&](bool in_portions) {
    for (int i = 0; i < static_cast<int>(users_.size()); ++i) unsettled_.insert(i);
    for (int i = 0; i < static_cast<int>(users_.size()); ++i) {
      if (in_portions && (steps_ + i) % 3 == 0) continue;
      Changes changes;
      settle(i, &changes, &step.removed_after, &step.turns_after);
      for (Told& told : Copy(changes)) {
        step.told[static_cast<size_t>(i)].push_back(std::move(told));
      }
    }
    if (unsettled_.empty()) finish_settling();
  };
  switch (item.kind) {
    case Item::Kind::kRecord: {
      Changes changes;
      step.outcome = apply(item.record, &changes);
      step.told[static_cast<size_t>(item.record.user)] = Copy(changes);
      break;
    }
    case Item::Kind::kAdvance:
      advance_all();
      break;
    case Item::Kind::kDefine: {
      advance_all();
      const bool edited = segments_.contains(item.slot);
      ActiveSegment& segment = segments_[item.slot];
      segment.slot = item.slot;
      segment.segment = item.segment;
      segment.segment.set_version(++versions_[item.slot]);
      segment.activation_offset = offset;
      segment.activation_clock = clock_;
      segment.history_offset = offset;
      segment.changed_offset = offset;
      segment.changed_clock = clock_;
      segment.change_number = ++changes_;
      const bool past = item.segment.has_past_behavior();
      segment.built = !past && !item.segment.live().has_date_time() &&
                      Dids(item.segment.live().filter()).empty();
      if (!segment.built) read_history(item.slot, offset);
      reasons_[item.slot] = edited ? segments::v1::DEFINITION_CHANGED : segments::v1::BACKFILLED;
      use_rules();
      settle_some(in_portions_ && (past || segment.built || stands_alone(segment)));
      break;
    }
    case Item::Kind::kDelete:
      advance_all();
      if (!segments_.contains(item.slot)) break;
      segments_[item.slot].deleting = true;
      segments_[item.slot].changed_offset = offset;
      segments_[item.slot].changed_clock = clock_;
      segments_[item.slot].change_number = ++changes_;
      use_rules();
      settle_some(in_portions_);
      break;
    case Item::Kind::kRestart: {
      for (UserState& user : users_) {
        std::string image;
        AppendUserImage(user, offset, &image);
        user = UserState();
        Offset included;
        if (!ParseUserImage(image, &user, &included).ok()) std::abort();
      }
      engine_.reset();
      use_rules();
      for (UserState& user : users_) engine_->take_over(user);
      break;
    }
  }
  return step;
}

std::string Describe(const Told& told) {
  std::string text = absl::StrCat("slot ", told.slot, " ", segments::v1::Action_Name(told.action),
                                  " at ", FormatTimestamp(told.at).substr(5, 18), " ",
                                  segments::v1::Reason_Name(told.reason));
  if (!told.cause_event.empty()) {
    absl::StrAppend(&text, " by ", told.cause_event, " of ",
                    FormatTimestamp(told.cause_at).substr(5, 18));
  }
  if (!told.cause_message_id.empty()) absl::StrAppend(&text, " id ", told.cause_message_id);
  return text;
}

namespace {

std::string Describe(const std::vector<Told>& all) {
  std::string text;
  for (const Told& told : all) absl::StrAppend(&text, "\n    ", property::Describe(told));
  return all.empty() ? "\n    nothing" : text;
}

// Whether `a` allows for `b`.
bool Same(const Told& a, const Told& b) {
  if (a.action != b.action || a.slot != b.slot || a.reason != b.reason) return false;
  if (a.at != b.at && !a.at_any_time) return false;
  if ((a.cause_event.empty() || a.cause_or_none) && b.cause_event.empty()) return true;
  if (a.cause_event != b.cause_event || a.cause_at != b.cause_at) return false;
  return a.cause_message_id == b.cause_message_id ||
         (a.cause_or_none && b.cause_message_id.empty());
}

}  // namespace

std::string Disorder(const UserState& user, const Settings& settings) {
  if (user.facts.size() > settings.max_facts) return "more facts than max_facts";
  if (user.writes.size() > settings.max_facts) return "more profile commands than max_facts";
  if (user.seen.size() > settings.max_message_ids) return "more message IDs than max_message_ids";
  if (!std::is_sorted(user.facts.begin(), user.facts.end(),
                      [](const Fact& a, const Fact& b) { return a.order < b.order; })) {
    return "facts out of order";
  }
  if (!std::is_sorted(
          user.writes.begin(), user.writes.end(), [](const ProfileWrite& a, const ProfileWrite& b) {
            return std::pair(a.effective, a.order.offset) < std::pair(b.effective, b.order.offset);
          })) {
    return "writes out of order";
  }
  if (user.present.writes_applied > user.writes.size()) return "writes_applied beyond the writes";
  for (const FoldState* state : {&user.present, static_cast<const FoldState*>(user.base.get())}) {
    if (state == nullptr) continue;
    for (size_t i = 1; i < state->segments.size(); ++i) {
      if (state->segments[i - 1].slot >= state->segments[i].slot) return "segments out of order";
    }
    for (const SegmentState& segment : state->segments) {
      if (segment.memory->occurrences.size() > static_cast<size_t>(kMaxPageCount))
        return "occurrences unbounded";
    }
  }
  return "";
}

std::string Difference(const History& history) {
  Playback run(history.settings, history.users);
  Oracle oracle(history.settings, history.users);
  for (size_t i = 0; i < history.items.size(); ++i) {
    const Item& item = history.items[i];
    const Offset offset(static_cast<int64_t>(i));
    Playback::Step actual = run.step(item);

    std::vector<std::vector<Told>> expected(static_cast<size_t>(history.users));
    std::optional<Outcome> outcome;
    // Of the record's user, as right as what is expected.
    std::optional<std::vector<Told>> otherwise;
    const auto advance_all = [&] {
      for (int u = 0; u < history.users; ++u) {
        for (Told& told : oracle.advance(u, run.clock())) {
          expected[static_cast<size_t>(u)].push_back(std::move(told));
        }
      }
    };
    const auto removed = [&](const std::vector<std::pair<int, Slot>>& all) {
      for (const auto& [user, slot] : all) {
        for (Told& told : oracle.leave(user, slot, offset, run.clock())) {
          expected[static_cast<size_t>(user)].push_back(std::move(told));
        }
      }
    };
    const auto turned = [&](const std::vector<std::pair<int, Slot>>& all) {
      for (const auto& [user, slot] : all) {
        for (Told& told : oracle.take_turn(user, slot, offset, run.clock())) {
          expected[static_cast<size_t>(user)].push_back(std::move(told));
        }
      }
    };
    removed(actual.removed_before);
    turned(actual.turns_before);
    switch (item.kind) {
      case Item::Kind::kRecord: {
        auto& told = expected[static_cast<size_t>(item.record.user)];
        auto verdict = oracle.apply(item.record, offset, run.clock(), actual.outcome);
        outcome = verdict.outcome;
        told = std::move(verdict.told);
        otherwise = std::move(verdict.otherwise);
        break;
      }
      case Item::Kind::kAdvance:
        advance_all();
        break;
      case Item::Kind::kDefine:
        advance_all();
        oracle.define(item.slot, item.segment, offset, run.clock());
        break;
      case Item::Kind::kDelete: {
        advance_all();
        oracle.erase(item.slot, offset);
        break;
      }
      case Item::Kind::kRestart:
        break;
    }

    removed(actual.removed_after);
    turned(actual.turns_after);

    const std::string where = absl::StrCat("after #", i, ": ");
    if (oracle.takes_back()) return absl::StrCat(where, "the oracle takes back what it told");
    if (actual.outcome != outcome) {
      return absl::StrCat(where, "the outcome is ", static_cast<int>(*actual.outcome),
                          ", expected ", static_cast<int>(*outcome));
    }
    for (int u = 0; u < history.users; ++u) {
      std::vector<Told>& got = actual.told[static_cast<size_t>(u)];
      const std::vector<Told>& want = expected[static_cast<size_t>(u)];
      const auto in_order = [](std::vector<Told> all) {
        std::stable_sort(all.begin(), all.end(),
                         [](const Told& a, const Told& b) { return a.slot < b.slot; });
        return all;
      };
      const auto as_told = [&](std::vector<Told> all) {
        // A message ID is told of the event being applied only.
        for (Told& told : all) {
          if (told.offset != offset) told.cause_message_id.clear();
        }
        return in_order(std::move(all));
      };
      const auto is = [&](const std::vector<Told>& right) {
        return std::ranges::equal(as_told(right), in_order(got), Same);
      };
      if (!is(want) && !(otherwise.has_value() && item.record.user == u && is(*otherwise))) {
        return absl::StrCat(where, "user ", u, " is told", Describe(got), "\n  expected",
                            Describe(want));
      }
      // At a turn with a live segment what it had to wait with is told after what was newer.
      std::map<Slot, Time> caught_up;
      for (const auto* turns : {&actual.turns_before, &actual.turns_after}) {
        for (const auto& [user, slot] : *turns) {
          if (user == u) caught_up[slot] = Time::Min();
        }
      }
      Time in_order_until = Time::Min();
      for (const Told& told : got) {
        if (told.reason == segments::v1::LATE_EVENT ||
            told.reason == segments::v1::SEGMENT_DELETED) {
          continue;
        }
        const auto turn = caught_up.find(told.slot);
        Time& last = turn != caught_up.end() ? turn->second : in_order_until;
        if (told.at < last) return absl::StrCat(where, "changes out of order", Describe(got));
        last = told.at;
      }

      const UserState& user = run.user(u);
      for (const Slot slot : oracle.slots()) {
        if (IsMember(user, slot) != oracle.member(u, slot)) {
          return absl::StrCat(where, "user ", u, (IsMember(user, slot) ? " is" : " is not"),
                              " in slot ", slot);
        }
        const SegmentState* state = user.present.segments.find(slot);
        if (state == nullptr || !state->member || !oracle.knows_since(u, slot)) continue;
        if (state->since != oracle.since(u, slot)) {
          return absl::StrCat(where, "user ", u, " is in slot ", slot, " since ",
                              FormatTimestamp(state->since), ", and should be since ",
                              FormatTimestamp(oracle.since(u, slot)));
        }
        // What a definition before has counted is not for this one's explanation.
        if (!run.settled(u)) continue;
        const auto explanation = run.engine().explain(slot, run.clock(), user);
        if (explanation.member() != state->member) {
          return absl::StrCat(where, "the explanation of slot ", slot, " says otherwise");
        }
      }
      if (run.settled(u) && user.next_deadline > oracle.next_deadline(u)) {
        return absl::StrCat(where, "user ", u, " sleeps until ",
                            FormatTimestamp(user.next_deadline), ", but has a deadline at ",
                            FormatTimestamp(oracle.next_deadline(u)));
      }
      const bool has_moved = item.kind == Item::Kind::kRecord ? item.record.user == u
                                                              : item.kind == Item::Kind::kAdvance;
      if (has_moved && user.next_deadline <= oracle.now(u)) {
        return absl::StrCat(where, "user ", u, " has a deadline in the past, ",
                            FormatTimestamp(user.next_deadline));
      }
      if (const std::string wrong = Disorder(user, history.settings); !wrong.empty()) {
        return absl::StrCat(where, "user ", u, ": ", wrong);
      }
    }
  }
  return "";
}

}  // namespace segmentd::property
