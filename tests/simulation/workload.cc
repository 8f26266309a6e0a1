#include "tests/simulation/workload.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "fmt/format.h"

#include "segment/definition_text.h"
#include "stream/partitioner.h"

namespace segmentd::simulation {
namespace {

constexpr const char* kKinds[] = {
    "live: { actions: { any_of: [ { event: A } ] } }",
    "live: { actions: { any_of: [ { event: A }, { event: B, where: [ { property: n, at_least: 5 } "
    "] } ] }, exit: { after: 3s } }",
    "live: { actions: { any_of: [ { event: B } ], repeat: true }, exit: { on: [ { event: C } ] } }",
    "live: { actions: { any_of: [ { event: C } ] }, exit: { after: 20s } }",
    "live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], within: 2s } }",
    "live: { inaction: { trigger: { event: A }, does_not_do: [ { event: C } ], within: 5s, "
    "restart: true }, exit: { after: 4s } }",
    "live: { inaction: { trigger: { event: A, where: [ { property: n, less_than: 8 } ] }, "
    "does_not_do: [ { event: B } ], within: 10s, match: n } }",
    "live: { inaction: { trigger: { event: C }, does_not_do: [ { event: A } ], within: 1s }, "
    "filter: { property: { property: city, equals: Pune } } }",
    "live: { actions: { any_of: [ { event: A } ] }, exit: { after: 6s }, filter: { property: { "
    "property: city, exists: true } } }",
    "live: { page_count: { at_least: 3, within: 10s }, exit: { after: 5s } }",
};

segments::v1::Segment Make(const std::string& id, int64_t version, const char* kind) {
  const std::string text = fmt::format("id: {}\nname: Segment {}\n{}\n", id, id, kind);
  auto documents = ReadSegmentDocuments(text);
  if (!documents.ok() || documents->size() != 1 || !(*documents)[0].violations.empty()) {
    std::fprintf(stderr, "bad definition:\n%s\n", text.c_str());
    if (documents.ok() && !documents->empty()) {
      for (const auto& v : (*documents)[0].violations) {
        std::fprintf(stderr, "%s: %s\n", v.path.c_str(), v.message.c_str());
      }
    }
    std::abort();
  }
  segments::v1::Segment segment = (*documents)[0].segment;
  segment.set_version(version);
  segment.mutable_create_time()->set_seconds(version == 0 ? 0 : 1);
  return segment;
}

const char* AnyKind(Random& random) {
  return kKinds[random.below(static_cast<int64_t>(std::size(kKinds)))];
}

}  // namespace

Workload::Workload(uint64_t seed, bool producer_times)
    : random_(seed),
      producer_times_(producer_times),
      users_(random_.between(2, 25)),
      grain_ms_(random_.percent(50) ? 1 : 1'000) {
  for (int64_t n = random_.between(1, 6); n > 0; --n) {
    segments_.push_back(Make(fmt::format("s{}", created_++), 1, AnyKind(random_)));
  }
  publish();
}

void Workload::publish() {
  auto wanted = std::make_shared<std::vector<segments::v1::Segment>>(segments_);
  std::sort(wanted->begin(), wanted->end(),
            [](const auto& a, const auto& b) { return a.id() < b.id(); });
  wanted_ = std::move(wanted);
}

void Workload::change_definitions() {
  const int64_t what = segments_.empty() ? 0 : random_.below(3);
  const auto at = static_cast<size_t>(
      segments_.empty() ? 0 : random_.below(static_cast<int64_t>(segments_.size())));
  if (what == 0) {
    segments_.push_back(Make(fmt::format("s{}", created_++), 1, AnyKind(random_)));
  } else if (what == 1) {
    segments_[at] = Make(segments_[at].id(), segments_[at].version() + 1, AnyKind(random_));
  } else if (random_.percent(30)) {
    // Deleted and made again at once, under the same ID.
    segments_[at] = Make(segments_[at].id(), 1, AnyKind(random_));
    segments_[at].mutable_create_time()->set_seconds(++created_);
  } else {
    segments_.erase(segments_.begin() + static_cast<ptrdiff_t>(at));
  }
  publish();
}

std::string Workload::event(const std::string& user, Time now) {
  const int64_t lateness = random_.percent(70)   ? random_.between(0, 900)
                           : random_.percent(90) ? random_.between(0, 20'000)
                                                 : random_.between(0, 3 * 3600'000);
  const int64_t at = (now.millis() - lateness) / grain_ms_ * grain_ms_;
  ++events_;
  // Some come twice, some can't be told from others.
  const std::string message = random_.percent(30) ? ""
                              : random_.percent(7)
                                  ? fmt::format(R"("messageId":"m{}",)", events_ - 1)
                                  : fmt::format(R"("messageId":"m{}",)", events_);
  if (random_.percent(10)) {
    return fmt::format(
        R"({{"type":"identify","userId":"{}",{}"timestamp":{},"traits":{{"city":{}}}}})", user,
        message, at,
        random_.percent(30)   ? "null"
        : random_.percent(50) ? "\"Pune\""
                              : "\"Delhi\"");
  }
  if (random_.percent(15)) {
    return fmt::format(
        R"({{"type":"page","userId":"{}",{}"timestamp":{},"properties":{{"url":"https://example.com/{}"}}}})",
        user, message, at, random_.below(4));
  }
  return fmt::format(
      R"({{"type":"track","userId":"{}",{}"timestamp":{},"event":"{}","properties":{{"n":{}}}}})",
      user, message, at, std::string(1, static_cast<char>('A' + random_.below(4))),
      random_.below(10));
}

void Workload::append(Cluster& cluster) {
  const std::string user = fmt::format("user-{}", random_.below(users_));
  const Partition partition = PartitionOf(user, cluster.partitions());
  if (random_.percent(10)) cluster.append(partition, std::nullopt);
  InputRecord record{.has_key = true,
                     .key = user,
                     .value = event(user, cluster.wall),
                     .record_time = cluster.wall};
  if (producer_times_ && random_.percent(30)) {
    record.record_time = record.record_time + Duration::Millis(random_.between(-5'000, 5'000));
  }
  if (random_.percent(4)) {
    switch (random_.below(3)) {
      case 0:
        record.value = "{\"type\":";
        break;
      case 1:
        record.key = "somebody else";
        break;
      default:
        record.has_key = false;
        record.key.clear();
        break;
    }
  }
  cluster.append(partition, std::move(record));
}

}  // namespace segmentd::simulation
