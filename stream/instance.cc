#include "stream/instance.h"

#include <algorithm>
#include <functional>
#include <future>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "fmt/format.h"

#include "stream/estimate.h"
#include "stream/listing.h"
#include "stream/partitioner.h"

namespace segmentd {
namespace {

// Users looked at for a listing between two steps.
constexpr UserIndex kListedUsers = 20'000;
constexpr absl::Duration kNoInputPause = absl::Milliseconds(100);
// At whether the worker still gets along.
constexpr absl::Duration kLookEvery = absl::Milliseconds(100);
constexpr absl::Duration kReportEvery = absl::Milliseconds(200);

absl::Status NotRunning(Partition partition) {
  return absl::UnavailableError(fmt::format(
      "partition {} is not running here (it is being restored, or another instance has it); try "
      "again, or ask another instance",
      partition));
}

// "partition 3", "partitions 0, 2 to 5".
std::string Named(const std::vector<Partition>& partitions) {
  std::string text = partitions.size() == 1 ? "partition " : "partitions ";
  for (size_t first = 0, last = 0; first < partitions.size(); first = ++last) {
    while (last + 1 < partitions.size() && partitions[last + 1] == partitions[last] + 1) ++last;
    if (first > 0) text += ", ";
    text += fmt::format_int(partitions[first]).str();
    if (last > first) text += fmt::format(" to {}", partitions[last]);
  }
  return text;
}

// Has `question` answered by the worker's thread. It may be called after this returned, so it owns
// what it needs.
template <typename T>
class Asked {
 public:
  using Question = std::function<absl::StatusOr<T>(Worker&)>;

  // `patience`: see InstanceOptions.
  Asked(Worker& worker, Partition partition, absl::Duration patience, Question question)
      : worker_(worker),
        partition_(partition),
        patience_(patience),
        state_(std::make_shared<State>()) {
    answer_ = state_->answered.get_future();
    state_->accepted = worker.ask([state = state_, question = std::move(question)](Worker& asked) {
      state->answered.set_value(question(asked));
    });
  }

  absl::StatusOr<T> wait(absl::Time deadline) {
    if (!state_->accepted) {
      return absl::UnavailableError("too many questions wait, or the server stops; try again");
    }
    for (;;) {
      const absl::Time until = std::min(deadline, absl::Now() + kLookEvery);
      if (answer_.wait_until(absl::ToChronoTime(until)) == std::future_status::ready) {
        return answer_.get();
      }
      if (const absl::Duration waited = worker_.broker_wait(); waited > patience_) {
        return absl::UnavailableError(
            fmt::format("partition {}: its step has waited for Kafka for {:.1f} s, and only what "
                        "is committed is told; try again",
                        partition_, absl::ToDoubleSeconds(waited)));
      }
      if (absl::Now() >= deadline) {
        return absl::DeadlineExceededError(
            "the worker did not answer in time; is it restoring, or the deadline too short?");
      }
    }
  }

  // The same, calling `report` every now and then; CANCELLED when that returns false.
  absl::StatusOr<T> wait_reporting(const std::function<bool()>& report) {
    while (state_->accepted && answer_.wait_for(absl::ToChronoMilliseconds(kReportEvery)) !=
                                   std::future_status::ready) {
      if (!report()) return absl::CancelledError("ended by the caller");
    }
    return wait(absl::InfinitePast());
  }

 private:
  struct State {
    bool accepted = false;
    std::promise<absl::StatusOr<T>> answered;
  };
  const Worker& worker_;
  Partition partition_;
  absl::Duration patience_;
  std::shared_ptr<State> state_;
  std::future<absl::StatusOr<T>> answer_;
};

std::vector<Queries::Membership> MembershipsIn(const Task& task, const StoredUser& user) {
  std::vector<Queries::Membership> memberships;
  for (const SegmentState& state : user.state.present.segments) {
    if (!state.member) continue;
    const ActiveSegment* segment = task.engine().rules().segment(state.slot);
    memberships.push_back({segment->segment.id(), state.since});
  }
  std::sort(memberships.begin(), memberships.end(),
            [](const auto& a, const auto& b) { return a.segment_id < b.segment_id; });
  return memberships;
}

// The users at `places`, looked up in one partition.
using FoundMemberships = std::vector<std::pair<size_t, std::vector<Queries::Membership>>>;

Asked<FoundMemberships> AskMemberships(Worker& worker, Partition partition, absl::Duration patience,
                                       std::vector<std::pair<size_t, std::string>> users) {
  return {worker, partition, patience,
          [partition,
           users = std::move(users)](const Worker& asked) -> absl::StatusOr<FoundMemberships> {
            const Task* task = asked.running(partition);
            if (!task) return NotRunning(partition);
            FoundMemberships found;
            for (const auto& [place, id] : users) {
              if (const StoredUser* user = task->users().find(id)) {
                found.emplace_back(place, MembershipsIn(*task, *user));
              }
            }
            return found;
          }};
}

}  // namespace

StreamInstance::StreamInstance(InstanceOptions options, std::vector<Io> ios, Clock& clock)
    : options_(std::move(options)), ios_(std::move(ios)) {
  options_.worker.partitions = options_.partitions;
  for (Io& io : ios_) {
    workers_.push_back(std::make_unique<Worker>(options_.worker, *io.source, *io.transactions,
                                                *io.changelog, *io.history, clock, board_));
  }
}

StreamInstance::~StreamInstance() {
  stop();
}

void StreamInstance::start() {
  for (const std::unique_ptr<Worker>& worker : workers_) {
    threads_.emplace_back([this, &worker = *worker] {
      while (!stopping_.load(std::memory_order_relaxed)) {
        if (!worker.turn()) absl::SleepFor(kNoInputPause);
      }
      worker.stop();
    });
  }
}

void StreamInstance::stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void StreamInstance::want(const WantedDefinitions& definitions, Offset end) {
  for (const std::unique_ptr<Worker>& worker : workers_) worker->want(definitions, end);
}

bool StreamInstance::assigned() const {
  if (assigned_) return true;
  // Before the board: what a worker was given is on it by then.
  std::map<const Worker*, int> held;
  for (const std::unique_ptr<Worker>& worker : workers_) {
    if (!worker->assigned()) return false;
    held[worker.get()] = 0;
  }
  for (const auto& [partition, entry] : board_.entries()) ++held[entry.worker];
  const auto [least, most] = std::minmax_element(
      held.begin(), held.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most->second - least->second > 1) return false;
  assigned_ = true;
  return true;
}

std::vector<const WorkerMetrics*> StreamInstance::worker_metrics() const {
  std::vector<const WorkerMetrics*> metrics;
  for (const std::unique_ptr<Worker>& worker : workers_) metrics.push_back(&worker->metrics());
  return metrics;
}

std::vector<Partition> StreamInstance::held_up() const {
  std::vector<Partition> partitions;
  for (const auto& [partition, entry] : board_.entries()) {
    if (entry.worker->broker_wait() > options_.broker_patience) partitions.push_back(partition);
  }
  return partitions;
}

absl::StatusOr<Worker*> StreamInstance::running(Partition partition) const {
  const std::optional<TaskBoard::Entry> entry = board_.find(partition);
  if (entry && entry->state == TaskState::kFailed) {
    return absl::UnavailableError(
        fmt::format("partition {} has failed: {}", partition, entry->failure));
  }
  if (!entry || entry->state != TaskState::kRunning) return NotRunning(partition);
  return entry->worker;
}

absl::StatusOr<std::map<Partition, Worker*>> StreamInstance::all_running(
    std::string_view what) const {
  std::map<Partition, Worker*> workers;
  std::vector<Partition> missing;
  std::string failures;
  const std::map<Partition, TaskBoard::Entry> entries = board_.entries();
  for (Partition partition = 0; partition < options_.partitions; ++partition) {
    const auto it = entries.find(partition);
    if (it != entries.end() && it->second.state == TaskState::kRunning) {
      workers.emplace(partition, it->second.worker);
      continue;
    }
    missing.push_back(partition);
    if (it == entries.end() || it->second.state != TaskState::kFailed) continue;
    failures += fmt::format(". Partition {} has failed: {}", partition, it->second.failure);
  }
  if (missing.empty()) return workers;
  const bool one = missing.size() == 1;
  return absl::UnavailableError(
      fmt::format("{} needs all partitions in one instance, and here {} of {} {} not running ({} "
                  "being restored, "
                  "or other instances have them); try again, or ask an instance that has all, if "
                  "there is one{}",
                  what, Named(missing), options_.partitions, one ? "is" : "are",
                  one ? "it is" : "they are", failures));
}

absl::StatusOr<std::vector<std::vector<Queries::Membership>>> StreamInstance::MembershipsOf(
    const std::vector<std::string>& users, absl::Time deadline) {
  std::vector<std::vector<Membership>> memberships(users.size());
  std::vector<bool> found(users.size(), false);
  const auto take = [&](Asked<FoundMemberships>& asked) -> absl::Status {
    absl::StatusOr<FoundMemberships> answer = asked.wait(deadline);
    if (!answer.ok()) return answer.status();
    for (auto& [place, list] : *answer) {
      memberships[place] = std::move(list);
      found[place] = true;
    }
    return absl::OkStatus();
  };

  std::map<Partition, std::vector<std::pair<size_t, std::string>>> by_partition;
  for (size_t i = 0; i < users.size(); ++i) {
    by_partition[PartitionOf(users[i], options_.partitions)].emplace_back(i, users[i]);
  }
  std::vector<Asked<FoundMemberships>> asked;
  for (auto& [partition, list] : by_partition) {
    absl::StatusOr<Worker*> worker = running(partition);
    if (!worker.ok()) return worker.status();
    asked.push_back(AskMemberships(**worker, partition, options_.broker_patience, std::move(list)));
  }
  for (auto& one : asked) {
    if (absl::Status status = take(one); !status.ok()) return status;
  }

  // Unknown there: the producers' partitioner may be another one.
  std::vector<std::pair<size_t, std::string>> missing;
  for (size_t i = 0; i < users.size(); ++i) {
    if (!found[i]) missing.emplace_back(i, users[i]);
  }
  if (missing.empty() || options_.partitions == 1) return memberships;
  asked.clear();
  // A partition that can't be asked may know the user: better no answer than a wrong one.
  absl::StatusOr<std::map<Partition, Worker*>> workers =
      all_running("a user whom the partition of their ID does not know");
  if (!workers.ok()) return workers.status();
  for (const auto& [partition, worker] : *workers) {
    asked.push_back(AskMemberships(*worker, partition, options_.broker_patience, missing));
  }
  for (auto& one : asked) {
    if (absl::Status status = take(one); !status.ok()) return status;
  }
  return memberships;
}

absl::StatusOr<std::vector<int64_t>> StreamInstance::CountMembers(
    const std::vector<std::string>& segment_ids, absl::Time deadline) {
  absl::StatusOr<std::map<Partition, Worker*>> workers = all_running("counting members");
  if (!workers.ok()) return workers.status();
  std::vector<Asked<std::vector<int64_t>>> asked;
  for (const auto& [partition, worker] : *workers) {
    asked.emplace_back(*worker, partition, options_.broker_patience,
                       [partition = partition, ids = segment_ids](
                           const Worker& w) -> absl::StatusOr<std::vector<int64_t>> {
                         const Task* task = w.running(partition);
                         if (!task) return NotRunning(partition);
                         std::vector<int64_t> counts;
                         for (const std::string& id : ids) {
                           const ActiveSegment* segment = task->engine().rules().find(id);
                           counts.push_back(segment ? task->members(segment->slot) : 0);
                         }
                         return counts;
                       });
  }
  std::vector<int64_t> counts(segment_ids.size(), 0);
  for (auto& one : asked) {
    absl::StatusOr<std::vector<int64_t>> answer = one.wait(deadline);
    if (!answer.ok()) return answer.status();
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += (*answer)[i];
  }
  return counts;
}

absl::Status StreamInstance::ListMembers(
    std::string_view segment_id, absl::Time deadline,
    absl::FunctionRef<void(const std::map<int32_t, int64_t>& next_change)> begin,
    absl::FunctionRef<bool(std::vector<std::string> users)> portion) {
  const std::string id(segment_id);
  absl::StatusOr<std::map<Partition, Worker*>> workers = all_running("listing members");
  if (!workers.ok()) return workers.status();

  struct Start {
    std::shared_ptr<Listing> listing;
    int64_t next_change = 0;
  };
  std::map<Partition, std::shared_ptr<Listing>> listings;
  std::map<int32_t, int64_t> next_change;
  {
    std::vector<std::pair<Partition, Asked<Start>>> asked;
    for (const auto& [partition, worker] : *workers) {
      asked.emplace_back(
          partition, Asked<Start>(*worker, partition, options_.broker_patience,
                                  [partition = partition, id](Worker& w) -> absl::StatusOr<Start> {
                                    const Task* task = w.running(partition);
                                    if (!task) return NotRunning(partition);
                                    auto listing = w.begin_listing(*task, id);
                                    const int64_t next = listing->next_change();
                                    return Start{std::move(listing), next};
                                  }));
    }
    for (auto& [partition, one] : asked) {
      absl::StatusOr<Start> start = one.wait(deadline);
      if (!start.ok()) return start.status();
      listings[partition] = std::move(start->listing);
      next_change[partition] = start->next_change;
    }
  }
  begin(next_change);

  struct Portion {
    std::vector<std::string> users;
    bool end = false;
  };
  for (const auto& [partition, worker] : *workers) {
    for (bool end = false; !end;) {
      Asked<Portion> asked(*worker, partition, options_.broker_patience,
                           [partition = partition, listing = listings.at(partition)](
                               const Worker& w) -> absl::StatusOr<Portion> {
                             const Task* task = w.running(partition);
                             if (!task) return NotRunning(partition);
                             Portion listed;
                             absl::StatusOr<bool> all =
                                 listing->go_on(*task, kListedUsers, &listed.users);
                             if (!all.ok()) return all.status();
                             listed.end = *all;
                             return listed;
                           });
      absl::StatusOr<Portion> answer = asked.wait(deadline);
      if (!answer.ok()) return answer.status();
      if (!answer->users.empty() && !portion(std::move(answer->users))) return absl::OkStatus();
      end = answer->end;
    }
    // Nothing more is noted for it.
    listings.erase(partition);
  }
  return absl::OkStatus();
}

absl::StatusOr<segments::v1::Explanation> StreamInstance::Explain(std::string_view segment_id,
                                                                  std::string_view user,
                                                                  absl::Time deadline) {
  using segments::v1::Explanation;
  struct Answer {
    bool known = false;
    Explanation explanation;
  };
  const Partition home = PartitionOf(user, options_.partitions);
  absl::StatusOr<Worker*> worker = running(home);
  if (!worker.ok()) return worker.status();

  const auto ask = [&](Worker& of, Partition partition) {
    return Asked<Answer>(
        of, partition, options_.broker_patience,
        [partition, segment_id = std::string(segment_id),
         user_id = std::string(user)](const Worker& w) -> absl::StatusOr<Answer> {
          const Task* task = w.running(partition);
          if (!task) return NotRunning(partition);
          const ActiveSegment* segment = task->engine().rules().find(segment_id);
          if (!segment) {
            return absl::NotFoundError(fmt::format(
                "segment {} does not run in partition {}; see its status", segment_id, partition));
          }
          Answer answer;
          const StoredUser* known = task->users().find(user_id);
          answer.known = known != nullptr;
          const UserState nobody;
          answer.explanation =
              task->engine().explain(segment->slot, task->fired(), known ? known->state : nobody);
          answer.explanation.set_segment_id(segment_id);
          answer.explanation.set_user_id(user_id);
          return answer;
        });
  };

  absl::StatusOr<Answer> at_home = ask(**worker, home).wait(deadline);
  if (!at_home.ok()) return at_home.status();
  if (at_home->known) return std::move(at_home->explanation);
  const absl::StatusOr<std::map<Partition, Worker*>> workers =
      all_running("explaining a user whom the partition of their ID does not know");
  if (!workers.ok()) return workers.status();
  for (const auto& [partition, other] : *workers) {
    if (partition == home) continue;
    absl::StatusOr<Answer> answer = ask(*other, partition).wait(deadline);
    if (!answer.ok()) return answer.status();
    if (answer->known) return std::move(answer->explanation);
  }
  return std::move(at_home->explanation);
}

absl::Status StreamInstance::estimate(const segments::v1::Segment& segment,
                                      const std::function<bool(double progress)>& report,
                                      int64_t* members, int64_t* users) {
  const absl::StatusOr<std::map<Partition, Worker*>> workers = all_running("an estimate");
  if (!workers.ok()) return workers.status();
  double progress = 0;
  const auto tell = [&] { return report(progress); };
  std::map<Partition, std::shared_ptr<Estimate>> estimates;
  for (const auto& [partition, worker] : *workers) {
    Asked<std::shared_ptr<Estimate>> asked(
        *worker, partition, options_.broker_patience,
        [partition = partition, segment](Worker& w) -> absl::StatusOr<std::shared_ptr<Estimate>> {
          const Task* task = w.running(partition);
          if (!task) return NotRunning(partition);
          return Estimate::Begin(w, *task, segment);
        });
    absl::StatusOr<std::shared_ptr<Estimate>> begun = asked.wait_reporting(tell);
    if (!begun.ok()) return begun.status();
    estimates.emplace(partition, *std::move(begun));
  }
  const auto all_read = [&] {
    bool all = true;
    double sum = 0;
    for (const auto& [partition, estimate] : estimates) {
      all = all && estimate->read();
      sum += estimate->progress();
    }
    progress = sum / static_cast<double>(estimates.size());
    return all;
  };
  while (!all_read()) {
    if (!tell()) return absl::CancelledError("ended by the caller");
    if (stopping_) return absl::UnavailableError("the server stops");
    absl::SleepFor(kReportEvery);
  }
  *members = 0;
  *users = 0;
  for (const auto& [partition, estimate] : estimates) {
    for (bool end = false; !end;) {
      Asked<bool> asked(
          *workers->at(partition), partition, options_.broker_patience,
          [partition = partition, estimate = estimate](const Worker& w) -> absl::StatusOr<bool> {
            const Task* task = w.running(partition);
            if (!task) return NotRunning(partition);
            return estimate->go_on(*task);
          });
      const absl::StatusOr<bool> gone = asked.wait_reporting(tell);
      if (!gone.ok()) return gone.status();
      end = *gone;
    }
    *members += estimate->members();
    *users += estimate->users();
  }
  return absl::OkStatus();
}

}  // namespace segmentd
