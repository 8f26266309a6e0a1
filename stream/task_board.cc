#include "stream/task_board.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"

namespace segmentd {
namespace {

std::string In(const std::vector<Partition>& partitions) {
  return fmt::format("in partition{} {}", partitions.size() == 1 ? "" : "s",
                     fmt::join(partitions, ", "));
}

DefinitionStatus StatusIn(const TaskBoard::Entry& entry, std::string_view id) {
  if (!entry.definitions) return {};
  const auto it = entry.definitions->find(std::string(id));
  return it == entry.definitions->end() ? DefinitionStatus() : it->second;
}

bool Has(const TaskBoard::Entry& entry, std::string_view id, int64_t version) {
  const DefinitionStatus status = StatusIn(entry, id);
  if (version == 0) return status.version == 0;
  return status.version >= version || status.rejected_version >= version;
}

}  // namespace

void TaskBoard::post(Partition partition, Entry entry) {
  const std::scoped_lock lock(mutex_);
  entries_[partition] = std::move(entry);
  changed_.notify_all();
}

void TaskBoard::remove(Partition partition, const Worker* worker) {
  const std::scoped_lock lock(mutex_);
  const auto it = entries_.find(partition);
  if (it == entries_.end() || it->second.worker != worker) return;
  entries_.erase(it);
  changed_.notify_all();
}

std::optional<TaskBoard::Entry> TaskBoard::find(Partition partition) const {
  const std::scoped_lock lock(mutex_);
  const auto it = entries_.find(partition);
  if (it == entries_.end()) return std::nullopt;
  return it->second;
}

std::map<Partition, TaskBoard::Entry> TaskBoard::entries() const {
  const std::scoped_lock lock(mutex_);
  return entries_;
}

TaskMetrics& TaskBoard::metrics(Partition partition) {
  const std::scoped_lock lock(mutex_);
  std::unique_ptr<TaskMetrics>& metrics = metrics_[partition];
  if (!metrics) metrics = std::make_unique<TaskMetrics>();
  return *metrics;
}

std::map<Partition, const TaskMetrics*> TaskBoard::all_metrics() const {
  const std::scoped_lock lock(mutex_);
  std::map<Partition, const TaskMetrics*> all;
  for (const auto& [partition, metrics] : metrics_) all.emplace(partition, metrics.get());
  return all;
}

bool TaskBoard::applied(std::string_view id, int64_t version) const {
  bool any = false;
  for (const auto& [partition, entry] : entries_) {
    if (entry.state == TaskState::kFailed) continue;
    if (!Has(entry, id, version)) return false;
    any = true;
  }
  return any;
}

bool TaskBoard::wait_applied(std::string_view id, int64_t version, absl::Time deadline) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, absl::ToChronoTime(deadline),
                             [&] { return applied(id, version); });
}

bool TaskBoard::waits_for_build(std::string_view id, int64_t version) const {
  const std::scoped_lock lock(mutex_);
  return std::any_of(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.state != TaskState::kFailed && !Has(entry.second, id, version) &&
           StatusIn(entry.second, id).keeps_version;
  });
}

TaskBoard::Running TaskBoard::running(std::string_view id) const {
  const std::scoped_lock lock(mutex_);
  Running running;
  for (const auto& [partition, entry] : entries_) {
    const DefinitionStatus status = StatusIn(entry, id);
    running.version = std::max(running.version, status.version);
    running.paused = running.paused || status.paused;
  }
  return running;
}

std::optional<Offset> TaskBoard::definitions_end() const {
  const std::scoped_lock lock(mutex_);
  Offset end;
  bool restoring = false;
  bool known = false;
  for (const auto& [partition, entry] : entries_) {
    end = std::max(end, entry.definitions_end);
    restoring = restoring || entry.state == TaskState::kRestoring;
    known = known || entry.definitions_end > Offset() || entry.state == TaskState::kReplaying ||
            entry.state == TaskState::kRunning;
  }
  if (restoring && !known) return std::nullopt;
  return end;
}

TaskBoard::Status TaskBoard::status(std::string_view id, int64_t version) const {
  const std::scoped_lock lock(mutex_);
  std::vector<Partition> waiting;
  std::vector<Partition> building;
  std::vector<Partition> guarded;
  bool keeps_version = false;
  bool paused = false;
  double progress = 0;
  int running = 0;
  for (const auto& [partition, entry] : entries_) {
    if (entry.state == TaskState::kFailed) continue;
    const DefinitionStatus status = StatusIn(entry, id);
    if (status.rejected_version == version) {
      return {segments::v1::SEGMENT_STATUS_INVALID, status.rejected};
    }
    ++running;
    progress += status.building ? status.progress : 1;
    if (!Has(entry, id, version)) {
      waiting.push_back(partition);
      keeps_version = keeps_version || status.keeps_version;
    }
    if (status.building) building.push_back(partition);
    if (status.paused_by_guard) guarded.push_back(partition);
    paused = paused || status.paused;
  }
  if (running == 0) return {segments::v1::SEGMENT_STATUS_PENDING, "no partition runs here"};
  if (!waiting.empty()) {
    return {segments::v1::SEGMENT_STATUS_PENDING,
            fmt::format("not yet applied {}{}", In(waiting),
                        keeps_version ? ": it waits until the version before is built" : "")};
  }
  if (!guarded.empty()) {
    return {segments::v1::SEGMENT_STATUS_PAUSED,
            fmt::format("more than max_changes_per_minute {}; memberships stay as they are until "
                        "ResumeSegment",
                        In(guarded))};
  }
  if (paused) {
    return {segments::v1::SEGMENT_STATUS_PAUSED,
            "paused by PauseSegment; memberships stay as they are until ResumeSegment"};
  }
  if (!building.empty()) {
    return {segments::v1::SEGMENT_STATUS_BUILDING,
            fmt::format("evaluating the history {}", In(building)),
            std::floor(progress / running * 100) / 100};
  }
  return {segments::v1::SEGMENT_STATUS_ACTIVE, ""};
}

}  // namespace segmentd
