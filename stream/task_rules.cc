// How definitions come into force between two steps, how the members of deleted ones are removed,
// and how far all of them are.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "spdlog/spdlog.h"

#include "state/changelog_codec.h"
#include "stream/recorded_settings.h"
#include "stream/task.h"

namespace segmentd {
namespace {

using segments::v1::AppliedDefinition;

}  // namespace

void Task::want(WantedDefinitions definitions, Offset end) {
  if (end < definitions_end_) return;
  wanted_ = std::move(definitions);
  wanted_end_ = end;
  definitions_differ_ = wanted_ && definitions_.differ(*wanted_);
  if (!definitions_differ_) definitions_end_ = wanted_end_;
}

absl::Status Task::check_definitions_end(Offset end) {
  if (end >= definitions_end_) return absl::OkStatus();
  if (options_.accept_lost_definitions) {
    spdlog::warn(
        "partition {}: the definitions topic ends at offset {}, but definitions up to {} were run; "
        "going on with what it holds now",
        partition_, end.value(), definitions_end_.value());
    definitions_end_ = end;
    return absl::OkStatus();
  }
  fail(absl::DataLossError(
      fmt::format("partition {}: {}", partition_,
                  LostDefinitions("the definitions topic", end, definitions_end_))));
  return failure_;
}

bool Task::rules_pending() const {
  return definitions_differ_ || !freed_slots_.empty() || !ready_.empty() || !over_.empty() ||
         all_had_turn() || !Same(settings_, options_.settings);
}

void Task::save_definition(const AppliedDefinition& definition, Step& step) {
  FormatChangelogKey({.kind = ChangelogKind::kDefinition, .slot = definition.slot()}, &key_);
  step.write({.topic = Write::Topic::kChangelog,
              .partition = partition_,
              .key = key_,
              .value = FormatAppliedDefinition(definition)});
}

bool Task::apply_definitions(AppliedDefinitions::Change change, Step& step) {
  for (const AppliedDefinition& definition : change.definitions) save_definition(definition, step);
  definitions_.apply(change);
  if (change.rules) rules_ = std::move(change.rules);
  return change.edits;
}

void Task::free_slots(Step& step) {
  for (const Slot slot : freed_slots_) {
    FormatChangelogKey({.kind = ChangelogKind::kDefinition, .slot = slot}, &key_);
    step.write({.topic = Write::Topic::kChangelog,
                .partition = partition_,
                .key = key_,
                .has_value = false});
    definitions_.free(slot);
    minutes_[slot] = {};
  }
  freed_slots_.clear();
  // What compiled with the segments compiles without them.
  if (absl::StatusOr<std::shared_ptr<const RuleSet>> left = definitions_.compile(); left.ok()) {
    rules_ = *std::move(left);
  }
}

bool Task::pause_over(Step& step) {
  for (Slot slot : over_) {
    spdlog::warn("partition {}: segment {} is paused: more changes in a minute than {}", partition_,
                 rules_->segment(slot)->segment.id(),
                 rules_->segment(slot)->segment.max_changes_per_minute());
  }
  const bool edits = apply_definitions(definitions_.pause(over_, position_, fired_), step);
  over_.clear();
  return edits;
}

bool Task::run_wanted(Step& step) {
  AppliedDefinitions::Change change =
      definitions_.plan(*wanted_, position_, clock_.now(), users_->size() == 0);
  for (const auto& [id, status] : change.rejected) {
    spdlog::error("partition {}: version {} of segment {} is not run: {}", partition_,
                  status.rejected_version, id, status.rejected);
  }
  definitions_end_ = wanted_end_;
  return apply_definitions(std::move(change), step);
}

void Task::use_settings() {
  settings_ = options_.settings;
  const Time newest_record = clock_.newest_record();
  const Time now = clock_.now();
  clock_ = PartitionClock(settings_.deadline_grace);
  clock_.restore(now, newest_record);
  count_cut_off();
  engine_ = std::make_unique<Engine>(rules_, settings_);
  cut_off_ = {};
  decoder_ = std::make_unique<Decoder>(settings_);
  // A new engine counts its rules anew.
  for (UserIndex i = 0; i < users_->size(); ++i) (*users_)[i].state.rules_generation = 0;
}

void Task::change_rules(Step& step) {
  bool edits = false;
  const bool all_fired = fired_ >= clock_.now();
  const bool pauses = !over_.empty();
  if (!freed_slots_.empty()) free_slots(step);
  if (pauses) edits = pause_over(step);
  if (!all_fired) {
    // Activated later.
  } else if (all_had_turn()) {
    apply_definitions(definitions_.enter(AppliedDefinition::ACTIVE,
                                         definitions_.in_phase(AppliedDefinition::ACTIVATING)),
                      step);
  } else if (!ready_.empty()) {
    apply_definitions(definitions_.enter(AppliedDefinition::ACTIVATING, definitions_.ready(ready_)),
                      step);
  }
  // Users' states are taken over to a pause before another version may end it.
  if (wanted_ && all_fired && !pauses) edits = run_wanted(step) || edits;
  if (all_fired && !Same(settings_, options_.settings)) {
    use_settings();
  } else {
    engine_->use(rules_);
  }
  members_.resize(std::max<size_t>(members_.size(), definitions_.slots()), 0);
  minutes_.resize(members_.size());
  plan_builds();
  definitions_differ_ = wanted_ && definitions_.differ(*wanted_);
  statuses_changed_ = true;
  if (scanned_slots_.empty()) {
    scanned_slots_ = definitions_.deleting();
    scan_at_ = 0;
  }
  // As a restored task will, from images older than this.
  if (!edits && scanned_slots_.empty()) return;
  for (UserIndex i = 0; i < users_->size(); ++i) {
    StoredUser& user = (*users_)[i];
    if (engine_->take_over(user.state)) settle(user, position_, step);
  }
}

void Task::scan(Step& step) {
  const size_t portion =
      std::max<size_t>(options_.users_scanned_per_step / scanned_slots_.size(), 1);
  const size_t until = std::min(users_->size(), scan_at_ + portion);
  for (; scan_at_ < until && !step.full() && !halted(); ++scan_at_) {
    StoredUser& user = (*users_)[scan_at_];
    bool any = false;
    for (const Slot slot : scanned_slots_) {
      // Where only the user's base has a state, there is nothing to tell.
      const bool told = definitions_.told(slot, user.state.present.segments.find(slot));
      if (!engine_->remove(slot, fired_, user.state, changes_)) continue;
      any = true;
      tell(user, step, told ? std::nullopt : std::optional(slot));
    }
    if (!any) continue;
    settle(user, position_, step);
    save_user(user, step);
  }
  if (scan_at_ < users_->size()) return;
  freed_slots_.swap(scanned_slots_);
  scanned_slots_.clear();
  scan_at_ = 0;
}

DefinitionStatuses Task::progress() const {
  DefinitionStatuses statuses = definitions_.statuses();
  for (const auto& [slot, definition] : definitions_.by_slot()) {
    const auto it = statuses.find(definition.segment().id());
    if (definition.deleting() || it == statuses.end() || !it->second.building) continue;
    double read = 1;
    for (size_t i = 0; i < histories_wanted_.size(); ++i) {
      if (ReadsPast(definition.segment()) && histories_wanted_[i].rules->segment(slot)) {
        read = std::min(read, read_[i]);
      }
    }
    // A tenth for the users' turns.
    it->second.progress = 0.9 * read;
    if (definition.phase() != AppliedDefinition::ACTIVATING || turns_.empty()) continue;
    const auto users = static_cast<double>(std::max<size_t>(users_->size(), 1));
    it->second.progress += 0.1 * static_cast<double>(turn_at_) / users;
  }
  return statuses;
}

bool Task::refresh_statuses() {
  if (!statuses_changed_) return false;
  statuses_ = std::make_shared<const DefinitionStatuses>(progress());
  statuses_changed_ = false;
  int64_t paused = 0;
  int64_t active = 0;
  for (const auto& [slot, definition] : definitions_.by_slot()) {
    if (definition.paused()) ++paused;
    active += !definition.paused() && definition.phase() == AppliedDefinition::ACTIVE;
  }
  metrics_.segments_active.set(active);
  metrics_.segments_paused.set(paused);
  metrics_.segments_building.set(
      static_cast<int64_t>(definitions_.in_phase(AppliedDefinition::BUILDING).size()));
  metrics_.segments_activating.set(
      static_cast<int64_t>(definitions_.in_phase(AppliedDefinition::ACTIVATING).size()));
  double least = 1;
  for (const auto& [id, status] : *statuses_) {
    if (status.building && !status.paused) least = std::min(least, status.progress);
  }
  metrics_.backfill_progress.set(static_cast<int64_t>(least * 1000));
  return true;
}

}  // namespace segmentd
