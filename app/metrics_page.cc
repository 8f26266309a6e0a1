#include "app/metrics_page.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "app/console.h"
#include "segment/absl_view.h"
#include "stream/decode_error.h"
#include "stream/metrics.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

class Page {
 public:
  // Begins a family; what is added next belongs to it.
  void family(std::string name, MetricType type, std::string help) {
    families_.push_back({std::move(name), std::move(help), type, {}});
  }
  void add(Labels labels, double value) {
    ClientMetric& metric = added(std::move(labels));
    if (families_.back().type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
  }
  void add(Labels labels, const Histogram& histogram) {
    ClientMetric& metric = added(std::move(labels));
    uint64_t count = 0;
    for (size_t bucket = 0; bucket < Histogram::kBuckets; ++bucket) {
      count += static_cast<uint64_t>(histogram.count(bucket));
      const bool last = bucket + 1 == Histogram::kBuckets;
      metric.histogram.bucket.push_back(
          {count, last ? std::numeric_limits<double>::infinity()
                       : static_cast<double>(Histogram::BoundMicros(bucket)) / 1e6});
    }
    metric.histogram.sample_count = count;
    metric.histogram.sample_sum = static_cast<double>(histogram.sum_micros()) / 1e6;
  }
  std::string text() const { return prometheus::TextSerializer().Serialize(families_); }

 private:
  ClientMetric& added(Labels labels) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    return metric;
  }
  std::vector<MetricFamily> families_;
};

struct TaskFamily {
  const char* name;
  MetricType type;
  const char* help;
  Metric TaskMetrics::*metric;
};

constexpr std::array kTaskFamilies = {
    TaskFamily{"segmentd_events_total", MetricType::Counter,
               "Records understood, applied and committed.", &TaskMetrics::events},
    TaskFamily{"segmentd_late_events_total", MetricType::Counter,
               "Events older than what was already decided for their user, evaluated again.",
               &TaskMetrics::late},
    TaskFamily{"segmentd_too_late_events_total", MetricType::Counter,
               "Events too old to take part in triggers.", &TaskMetrics::too_late},
    TaskFamily{"segmentd_duplicate_events_total", MetricType::Counter,
               "Events whose message ID had been seen.", &TaskMetrics::duplicates},
    TaskFamily{"segmentd_future_event_times_total", MetricType::Counter,
               "Event times too far ahead, replaced by the record time.",
               &TaskMetrics::future_times},
    TaskFamily{"segmentd_future_records_total", MetricType::Counter,
               "Records stamped ahead of the wall clock.", &TaskMetrics::future_records},
    TaskFamily{"segmentd_deadlines_total", MetricType::Counter, "Users' deadlines fired.",
               &TaskMetrics::deadlines},
    TaskFamily{"segmentd_images_saved_total", MetricType::Counter,
               "Images of users written to the changelog.", &TaskMetrics::images_saved},
    TaskFamily{"segmentd_image_bytes_saved_total", MetricType::Counter, "Their bytes.",
               &TaskMetrics::image_bytes_saved},
    TaskFamily{"segmentd_pendings_dropped_total", MetricType::Counter,
               "Pending inactions of a user over the bound, the oldest dropped.",
               &TaskMetrics::pendings_dropped},
    TaskFamily{"segmentd_facts_dropped_total", MetricType::Counter,
               "Facts of a user over the bound: late events reach back less far.",
               &TaskMetrics::facts_dropped},
    TaskFamily{"segmentd_message_ids_dropped_total", MetricType::Counter,
               "Message IDs of a user over the bound: duplicates of them count again.",
               &TaskMetrics::message_ids_dropped},
    TaskFamily{"segmentd_profile_writes_refused_total", MetricType::Counter,
               "Profile commands over a profile's bounds, left out.",
               &TaskMetrics::profile_writes_refused},
    TaskFamily{"segmentd_restores_total", MetricType::Counter,
               "Times that a task's memory was dropped and restored.", &TaskMetrics::restores},
    TaskFamily{"segmentd_shadow_changes_total", MetricType::Counter,
               "Changes of shadow segments, which are not written.", &TaskMetrics::shadow_changes},
    TaskFamily{"segmentd_backfill_records_total", MetricType::Counter,
               "Records read again for segments that count the past.",
               &TaskMetrics::backfill_records},
    TaskFamily{"segmentd_users", MetricType::Gauge, "Users known.", &TaskMetrics::users},
    TaskFamily{"segmentd_unsaved_users", MetricType::Gauge,
               "Users whose state has changed since it was saved.", &TaskMetrics::users_unsaved},
    TaskFamily{"segmentd_state_bytes", MetricType::Gauge,
               "Users' states as they are saved, and the index of users.",
               &TaskMetrics::state_bytes},
    TaskFamily{"segmentd_next_offset", MetricType::Gauge, "Offset of the next record to be read.",
               &TaskMetrics::next_offset},
    TaskFamily{"segmentd_replay_distance_records", MetricType::Gauge,
               "Records that a recovery would read again.", &TaskMetrics::replay_distance},
    TaskFamily{"segmentd_restored_offset", MetricType::Gauge,
               "How far the changelog was read by the last restore.",
               &TaskMetrics::restored_offset},
    TaskFamily{"segmentd_restore_end_offset", MetricType::Gauge, "How far it has to be read.",
               &TaskMetrics::restore_end_offset},
};

struct StateName {
  TaskState state;
  const char* name;
};
constexpr std::array kStates = {
    StateName{TaskState::kRestoring, "restoring"}, StateName{TaskState::kReplaying, "replaying"},
    StateName{TaskState::kRunning, "running"}, StateName{TaskState::kFailed, "failed"}};

using TasksMetrics = std::map<Partition, const TaskMetrics*>;

ClientMetric::Label OfPartition(Partition partition) {
  return {"partition", absl::StrCat(partition)};
}

void AddTasks(const TasksMetrics& tasks, Page* page) {
  for (const TaskFamily& family : kTaskFamilies) {
    page->family(family.name, family.type, family.help);
    for (const auto& [partition, metrics] : tasks) {
      page->add({OfPartition(partition)}, static_cast<double>((metrics->*family.metric).value()));
    }
  }
  page->family("segmentd_dead_letters_total", MetricType::Counter,
               "Records that were not understood, by the reason.");
  for (const auto& [partition, metrics] : tasks) {
    // From 1: the first is for none.
    for (size_t i = 1; i < metrics->dead_letters.size(); ++i) {
      page->add({OfPartition(partition),
                 {"error", std::string(DecodeErrorCode(static_cast<DecodeError>(i)))}},
                static_cast<double>(metrics->dead_letters[i].value()));
    }
  }
  page->family("segmentd_changes_total", MetricType::Counter, "Changes of memberships written.");
  for (const auto& [partition, metrics] : tasks) {
    for (const pb::Action action : {pb::ADD, pb::REMOVE, pb::QUALIFIED}) {
      page->add(
          {OfPartition(partition), {"action", absl::AsciiStrToLower(pb::Action_Name(action))}},
          static_cast<double>(metrics->changes[static_cast<size_t>(action)].value()));
    }
  }
  page->family("segmentd_lag_records", MetricType::Gauge,
               "Records of the input that were not read yet; of partitions that are read.");
  for (const auto& [partition, metrics] : tasks) {
    // Nobody knows of the others, which read nothing: 0 would say that nothing waits.
    const TaskState state = metrics->state;
    if (state != TaskState::kRunning && state != TaskState::kReplaying) continue;
    const int64_t lag = metrics->end_offset.value() - metrics->next_offset.value();
    page->add({OfPartition(partition)}, static_cast<double>(std::max<int64_t>(lag, 0)));
  }
  page->family("segmentd_clock_seconds", MetricType::Gauge,
               "The partition clock, seconds since 1970; 0 before the first record.");
  for (const auto& [partition, metrics] : tasks) {
    page->add({OfPartition(partition)}, static_cast<double>(metrics->clock_ms.value()) / 1000);
  }
}

struct PhaseName {
  const char* name;
  Metric TaskMetrics::*metric;
};
constexpr std::array kPhases = {PhaseName{"active", &TaskMetrics::segments_active},
                                PhaseName{"building", &TaskMetrics::segments_building},
                                PhaseName{"activating", &TaskMetrics::segments_activating},
                                PhaseName{"paused", &TaskMetrics::segments_paused}};

void AddPhases(const TasksMetrics& tasks, Page* page) {
  page->family("segmentd_backfill_progress", MetricType::Gauge,
               "How much of the past is evaluated for the segment that is least far; 1 when none "
               "is building.");
  for (const auto& [partition, metrics] : tasks) {
    page->add({OfPartition(partition)},
              static_cast<double>(metrics->backfill_progress.value()) / 1000);
  }
  page->family("segmentd_task_segments", MetricType::Gauge,
               "Segments applied in a partition, by phase.");
  for (const auto& [partition, metrics] : tasks) {
    for (const PhaseName& phase : kPhases) {
      page->add({OfPartition(partition), {"phase", phase.name}},
                static_cast<double>((metrics->*phase.metric).value()));
    }
  }
}

void AddStates(const TaskBoard& board, Page* page) {
  page->family("segmentd_task_state", MetricType::Gauge,
               "1 for the state that the task of a partition is in here.");
  for (const auto& [partition, entry] : board.entries()) {
    for (const StateName& state : kStates) {
      page->add({OfPartition(partition), {"state", state.name}},
                entry.state == state.state ? 1 : 0);
    }
  }
}

void AddWorkers(const std::vector<const WorkerMetrics*>& workers, Page* page) {
  const auto each = [&](auto add) {
    for (size_t i = 0; i < workers.size(); ++i)
      add(Labels{{"worker", absl::StrCat(i)}}, *workers[i]);
  };
  page->family("segmentd_commits_total", MetricType::Counter, "Transactions committed.");
  each([&](const Labels& labels, const WorkerMetrics& metrics) {
    page->add(labels, static_cast<double>(metrics.commits.value()));
  });
  page->family("segmentd_aborts_total", MetricType::Counter,
               "Transactions that were not committed.");
  each([&](const Labels& labels, const WorkerMetrics& metrics) {
    page->add(labels, static_cast<double>(metrics.aborts.value()));
  });
  page->family("segmentd_queries_total", MetricType::Counter, "Questions answered by the workers.");
  each([&](const Labels& labels, const WorkerMetrics& metrics) {
    page->add(labels, static_cast<double>(metrics.queries.value()));
  });
  page->family("segmentd_step_seconds", MetricType::Histogram,
               "From the first record of a step to its commit.");
  each(
      [&](const Labels& labels, const WorkerMetrics& metrics) { page->add(labels, metrics.step); });
  page->family("segmentd_commit_seconds", MetricType::Histogram, "Of a commit.");
  each([&](const Labels& labels, const WorkerMetrics& metrics) {
    page->add(labels, metrics.commit);
  });
}

void AddDefinitions(const KafkaDefinitionLog& definitions, const KafkaChangeFeed& changes,
                    Page* page) {
  std::map<pb::SegmentStatus, int64_t> counts = {{pb::SEGMENT_STATUS_ACTIVE, 0},
                                                 {pb::SEGMENT_STATUS_PENDING, 0},
                                                 {pb::SEGMENT_STATUS_BUILDING, 0},
                                                 {pb::SEGMENT_STATUS_PAUSED, 0},
                                                 {pb::SEGMENT_STATUS_INVALID, 0}};
  const std::shared_ptr<const std::vector<pb::Segment>> all = definitions.All();
  for (const pb::Segment& segment : *all) ++counts[segment.status()];
  page->family("segmentd_segments", MetricType::Gauge, "Segments stored, by status.");
  for (const auto& [status, count] : counts) {
    constexpr size_t kPrefix = sizeof("SEGMENT_STATUS_") - 1;
    page->add({{"status", absl::AsciiStrToLower(pb::SegmentStatus_Name(status).substr(kPrefix))}},
              static_cast<double>(count));
  }
  page->family("segmentd_invalid_definition_records_total", MetricType::Counter,
               "Records of the definitions topic that can't be read or run.");
  page->add({}, static_cast<double>(definitions.invalid_records()));
  page->family("segmentd_definition_log_failures_total", MetricType::Counter,
               "Times that following the definitions topic had to begin again.");
  page->add({}, static_cast<double>(definitions.failures()));
  page->family("segmentd_unreadable_change_records_total", MetricType::Counter,
               "Records of the change topic that are no changes, passed over by watches.");
  page->add({}, static_cast<double>(changes.unreadable()));
}

void AddBuildInfo(Page* page) {
  page->family("segmentd_build_info", MetricType::Gauge, "1, with the version.");
  page->add({{"version", SEGMENTD_VERSION}}, 1);
}

}  // namespace

std::string MetricsPage() {
  Page page;
  AddBuildInfo(&page);
  return page.text();
}

std::string TasksPage(const TaskBoard& board) {
  Page page;
  AddStates(board, &page);
  AddTasks(board.all_metrics(), &page);
  AddPhases(board.all_metrics(), &page);
  return page.text();
}

std::string MetricsPage(const StreamInstance& instance, const KafkaDefinitionLog& definitions,
                        const KafkaChangeFeed& changes) {
  Page page;
  AddWorkers(instance.worker_metrics(), &page);
  AddDefinitions(definitions, changes, &page);
  return absl::StrCat(MetricsPage(), TasksPage(instance.board()), page.text());
}

}  // namespace segmentd
