// Segments that count the past: which history is to be read for them, and the users' turns, in
// which it is added to their states.
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fmt/format.h"

#include "segment/compiled_rules.h"
#include "segment/history.h"
#include "stream/recorded_settings.h"
#include "stream/task.h"

namespace segmentd {
namespace {

using segments::v1::AppliedDefinition;

}  // namespace

HistoryRequest Task::request_history(Offset until, std::shared_ptr<const RuleSet> rules) const {
  HistoryRequest request{
      .partition = partition_, .until = until, .rules = std::move(rules), .settings = settings_};
  request.key = fmt::format("{} {} {} {} {} {}", partition_, until.value(),
                            settings_.max_lateness.millis(), settings_.max_future_skew.millis(),
                            settings_.max_facts, settings_.max_message_ids);
  for (const ActiveSegment& active : request.rules->segments()) {
    const segments::v1::Segment& segment = active.segment;
    request.key += fmt::format(" {}:{}:{}:{}.{}", active.slot, segment.id(), segment.version(),
                               segment.create_time().seconds(), segment.create_time().nanos());
  }
  return request;
}

void Task::plan_histories(const std::vector<Slot>& slots) {
  // What is read at once: all that begin to count at the same offset.
  std::map<Offset, std::vector<Slot>> by_offset;
  for (Slot slot : slots) {
    by_offset[Offset(definitions_.by_slot().at(slot).history_offset())].push_back(slot);
  }
  std::vector<HistoryRequest> wanted;
  std::vector<double> read;
  for (const auto& [until, counting] : by_offset) {
    const auto has_all = [&, until = until, &counting = counting](const HistoryRequest& request) {
      return request.until == until && Same(request.settings, settings_) &&
             std::all_of(counting.begin(), counting.end(), [&](Slot slot) {
               const ActiveSegment* segment = request.rules->segment(slot);
               return segment && SameVersion(segment->segment, rules_->segment(slot)->segment);
             });
    };
    // Goes on, though some segment of it may not be wanted any more.
    const auto same = std::find_if(histories_wanted_.begin(), histories_wanted_.end(), has_all);
    if (same != histories_wanted_.end()) {
      read.push_back(read_[static_cast<size_t>(same - histories_wanted_.begin())]);
      wanted.push_back(*same);
      continue;
    }
    absl::StatusOr<std::shared_ptr<const RuleSet>> rules = definitions_.compile(counting);
    if (!rules.ok()) continue;  // They run already.
    wanted.push_back(request_history(until, *std::move(rules)));
    read.push_back(0);
  }
  histories_wanted_ = std::move(wanted);
  read_ = std::move(read);
  std::erase_if(histories_, [&](const auto& history) {
    return std::none_of(
        histories_wanted_.begin(), histories_wanted_.end(),
        [&](const HistoryRequest& request) { return history->rules() == request.rules; });
  });
}

void Task::plan_builds() {
  const std::vector<Slot> building = definitions_.in_phase(AppliedDefinition::BUILDING);
  const std::vector<Slot> activating = definitions_.in_phase(AppliedDefinition::ACTIVATING);
  const auto reads = [&](Slot slot) {
    return ReadsPast(definitions_.by_slot().at(slot).segment());
  };
  std::vector<Slot> reading;
  for (const auto* slots : {&building, &activating}) {
    std::copy_if(slots->begin(), slots->end(), std::back_inserter(reading), reads);
  }
  plan_histories(reading);

  const auto known = [&](Slot slot) { return !reads(slot) || history_of(slot) != nullptr; };
  ready_.clear();
  if (activating.empty()) {
    std::copy_if(building.begin(), building.end(), std::back_inserter(ready_), known);
    ready_ = definitions_.ready(std::move(ready_));
  }
  std::vector<Slot> turns;
  if (std::all_of(activating.begin(), activating.end(), known)) turns = activating;
  const auto& rules = rules_->compiled().rules;
  std::sort(turns.begin(), turns.end(),
            [&](Slot a, Slot b) { return rules[a].rank < rules[b].rank; });
  if (turns != turns_) turn_at_ = 0;
  turns_ = std::move(turns);
}

const History* Task::history_of(Slot slot) const {
  const ActiveSegment* segment = rules_->segment(slot);
  for (const auto& history : histories_) {
    if (segment && history->has(*segment)) return history.get();
  }
  return nullptr;
}

void Task::take_history(size_t index, const std::shared_ptr<const History>& history) {
  if (std::find(histories_.begin(), histories_.end(), history) != histories_.end()) return;
  // A reading begun in another life has rules of its own that are the same.
  histories_wanted_[index].rules = history->rules();
  read_[index] = 1;
  histories_.push_back(history);
  statuses_changed_ = true;
  plan_builds();
}

void Task::note_reading(size_t index, double progress) {
  if (progress < read_[index] + 0.01) return;
  read_[index] = progress;
  statuses_changed_ = true;
}

void Task::take_turns(Step& step) {
  const size_t portion = std::max<size_t>(options_.users_built_per_step / turns_.size(), 1);
  const size_t until = std::min(users_->size(), turn_at_ + portion);
  const int64_t bytes = step.bytes() + static_cast<int64_t>(options_.bytes_saved_per_step);
  for (; turn_at_ < until && !step.full() && step.bytes() < bytes && !halted(); ++turn_at_) {
    StoredUser& user = (*users_)[turn_at_];
    bool any = false;
    built_.clear();
    for (Slot slot : turns_) any = take_turn(user, slot, step) || any;
    if (!any) continue;
    engine_->end_turn(built_, user.state);
    settle(user, position_, step);
    save_user(user, step);
  }
  statuses_changed_ = true;
}

bool Task::take_turn(StoredUser& user, Slot slot, Step& step) {
  const AppliedDefinition& definition = definitions_.by_slot().at(slot);
  const History* history = history_of(slot);
  const bool any = history && history->take(user.id(), slot, user.state.seen, &past_);
  const bool untold =
      definition.untold() && !definitions_.told(slot, user.state.present.segments.find(slot));
  const Reason reason =
      definition.first() || untold ? segments::v1::BACKFILLED : segments::v1::DEFINITION_CHANGED;
  const bool was_member = IsMember(user.state, slot);
  const bool taken_over = engine_->take_over(user.state);
  const bool built =
      engine_->build(slot, fired_, any ? &past_ : nullptr, reason, user.state, changes_);
  if (built) built_.push_back(slot);
  if (!taken_over && !built && changes_.empty()) return false;
  if (untold) {
    // Whoever is a member becomes one for the consumers now, and was none before.
    changes_.erase(std::remove_if(changes_.begin(), changes_.end(),
                                  [&](const Change& change) { return change.slot == slot; }),
                   changes_.end());
    if (was_member) --members_[slot];
    if (IsMember(user.state, slot)) {
      changes_.push_back({segments::v1::ADD,
                          slot,
                          std::max(fired_, user.state.newest_event),
                          segments::v1::BACKFILLED,
                          {},
                          Time(),
                          {}});
    }
  }
  tell(user, step);
  return true;
}

}  // namespace segmentd
