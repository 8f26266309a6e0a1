#include "app/service.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"

#include "api/access.h"
#include "api/server.h"
#include "app/http_server.h"
#include "app/listen_address.h"
#include "app/metrics_page.h"
#include "app/time_zone_data.h"
#include "app/tls_files.h"
#include "app/wall_clock.h"
#include "segment/absl_view.h"
#include "stream/instance.h"
#include "stream/kafka_change_feed.h"
#include "stream/kafka_changelog.h"
#include "stream/kafka_definition_log.h"
#include "stream/kafka_history.h"
#include "stream/kafka_pulse.h"
#include "stream/kafka_settings.h"
#include "stream/kafka_source.h"
#include "stream/kafka_topics.h"
#include "stream/kafka_transactions.h"

namespace segmentd {
namespace {

// Of one try to reach Kafka; so often its absence is told.
constexpr absl::Duration kTry = absl::Seconds(5);
// Of one that begins when the time for the start is nearly over.
constexpr absl::Duration kShortestTry = absl::Milliseconds(100);
constexpr absl::Duration kBetweenTries = absl::Seconds(1);
constexpr absl::Duration kReadinessInterval = absl::Milliseconds(100);
// Time for calls under way at the end.
constexpr absl::Duration kCallsLimit = absl::Seconds(3);

absl::Duration ToAbsl(Duration duration) {
  return absl::Milliseconds(duration.millis());
}

std::string_view Text(const absl::Status& status) {
  return StdView(status.message());
}

std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

// Nothing without the options, which come all three.
absl::StatusOr<std::optional<ServerTls>> ReadTls(const Options& options) {
  if (options.tls_cert.empty()) return std::nullopt;
  absl::StatusOr<TlsFiles> files = TlsFiles::Read({.ca_option = "--tls-client-ca",
                                                   .ca = options.tls_client_ca,
                                                   .certificate = options.tls_cert,
                                                   .key = options.tls_key});
  if (!files.ok()) return files.status();
  return ServerTls{.certificate = std::move(files->certificate),
                   .key = std::move(files->key),
                   .client_ca = std::move(files->ca)};
}

// One worker's consumer and producer, each of which Kafka knows by a name of its own that outlives
// restarts.
struct Names {
  std::string group;
  std::string instance;

  std::string member(int worker) const { return absl::StrCat(instance, "-", worker); }
  std::string transactional_id(int worker) const {
    return absl::StrCat(group, "-", instance, "-", worker);
  }
};

class Service {
 public:
  Service(const Options& options, KafkaSettings kafka, Access access, std::optional<ServerTls> tls,
          Signals& signals)
      : options_(options),
        kafka_(std::move(kafka)),
        topics_(options.topic_prefix),
        access_(std::move(access)),
        tls_(std::move(tls)),
        signals_(signals) {
    // Of the topics and nothing else: who is on the same ones shares their partitions, who is on
    // others is a stranger.
    names_.group = absl::StrCat(options.topic_prefix, "segmentd");
    names_.instance = options.instance_id;
    if (names_.instance.empty()) {
      names_.instance =
          absl::StrCat(HostName(), "-", options.listen.substr(options.listen.rfind(':') + 1));
    }
  }

  // Where it did not come to stop(): the workers ask the definitions, which go before them.
  ~Service() {
    if (instance_ != nullptr) instance_->stop();
  }
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  ExitStatus run() {
    const absl::Status started = start();
    if (stopping_) return kDone;
    if (!started.ok()) {
      spdlog::error("{}", Text(started));
      return absl::IsInvalidArgument(started) || absl::IsNotFound(started) ? kWrongUse
                                                                           : kUnavailable;
    }
    while (!signals_.wait(kReadinessInterval)) tell_readiness();
    stop();
    return kDone;
  }

 private:
  absl::Status start();
  absl::Status start_instance(int32_t partitions);
  absl::StatusOr<StreamInstance::Io> make_io(int worker);
  absl::Status start_grpc();
  absl::Status start_http();
  void stop();

  // Tries until it works, or fails for good, or a stop is asked for (CANCELLED), or the time is
  // over. Says so meanwhile. `limit` is the time for one try.
  absl::Status keep_trying(absl::FunctionRef<absl::Status(absl::Duration limit)> work);
  void set_unreached(const absl::Status& why);
  // The pages of HTTP, which is asked from the beginning on. `not_ready` is empty when ready.
  std::string not_ready() const;
  std::string partitions_not_ready() const;
  std::string metrics() const;
  void tell_readiness();

  const Options& options_;
  const KafkaSettings kafka_;
  const KafkaTopics topics_;
  const Access access_;
  const std::optional<ServerTls> tls_;
  Signals& signals_;
  Names names_;
  absl::Time begun_ = absl::Now();
  // All that follows from the clock on is there.
  std::atomic<bool> started_{false};
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  // Of the last try to reach Kafka; guarded by the mutex.
  absl::Status unreached_;
  std::string told_ = "starting";

  WallClock clock_;
  std::unique_ptr<StreamInstance> instance_;
  // After the instance, which it tells of every change. The instance's workers ask it in turn, so
  // they are stopped before either goes.
  std::unique_ptr<KafkaDefinitionLog> definitions_;
  std::unique_ptr<KafkaChangeFeed> changes_;
  std::unique_ptr<KafkaPulse> pulse_;
  std::unique_ptr<SegmentService> segments_;
  std::unique_ptr<MembershipService> memberships_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<HttpServer> http_;
};

void Service::set_unreached(const absl::Status& why) {
  const std::scoped_lock lock(mutex_);
  unreached_ = why;
}

absl::Status Service::keep_trying(absl::FunctionRef<absl::Status(absl::Duration limit)> work) {
  const absl::Time until = options_.startup_timeout ? begun_ + ToAbsl(*options_.startup_timeout)
                                                    : absl::InfiniteFuture();
  for (;;) {
    absl::Status status = work(std::clamp(until - absl::Now(), kShortestTry, kTry));
    set_unreached(status);
    if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return status;
    const absl::Duration waited = absl::Now() - begun_;
    if (absl::Now() >= until) {
      return absl::UnavailableError(absl::StrCat(
          "gave up after ", absl::FormatDuration(absl::Floor(waited, absl::Seconds(1))), ": ",
          status.message()));
    }
    spdlog::warn("{}", not_ready());
    if (signals_.wait(std::min(kBetweenTries, until - absl::Now()))) {
      stopping_ = true;
      return absl::CancelledError("stopped while waiting for Kafka");
    }
  }
}

absl::Status Service::start() {
  spdlog::info("segmentd {} starts as {} in group {}; Kafka: {}", SEGMENTD_VERSION, names_.instance,
               names_.group, kafka_.ToString());
  // Before it joins the group: a second process with the same addresses must not disturb the first.
  for (const auto& [name, text] :
       {std::pair{"--listen", &options_.listen}, {"--http", &options_.http}}) {
    if (text->empty()) continue;
    const absl::StatusOr<ListenAddress> address = ListenAddress::Parse(*text);
    const absl::Status free = address.ok() ? address->check_free() : address.status();
    if (!free.ok()) return absl::Status(free.code(), absl::StrCat(name, ": ", free.message()));
  }
  // Before Kafka is waited for, however long: who watches over the process asks meanwhile.
  if (absl::Status http = start_http(); !http.ok()) return http;
  TopicCreation creation;
  creation.enabled = options_.create_topics;
  creation.partitions = options_.partitions;
  if (options_.replication_factor > 0) creation.replication_factor = options_.replication_factor;
  int32_t partitions = 0;
  absl::Status status = keep_trying([&](absl::Duration limit) {
    const absl::StatusOr<int32_t> prepared = PrepareKafkaTopics(kafka_, topics_, creation, limit);
    if (prepared.ok()) partitions = *prepared;
    return prepared.status();
  });
  if (!status.ok()) return status;
  status = start_instance(partitions);
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<KafkaPulse>> pulse = KafkaPulse::Create(kafka_, {});
  if (!pulse.ok()) return pulse.status();
  pulse_ = *std::move(pulse);
  status = start_grpc();
  started_ = status.ok();
  return status;
}

absl::StatusOr<StreamInstance::Io> Service::make_io(int worker) {
  StreamInstance::Io io;
  absl::StatusOr<std::unique_ptr<KafkaSource>> source = KafkaSource::Create(
      kafka_, {.topic = topics_.events, .group = names_.group, .instance = names_.member(worker)},
      clock_);
  if (!source.ok()) return source.status();
  absl::StatusOr<std::unique_ptr<KafkaTransactions>> transactions = KafkaTransactions::Create(
      kafka_, {.topics = topics_, .transactional_id = names_.transactional_id(worker)},
      (*source)->member());
  if (!transactions.ok()) return transactions.status();
  absl::StatusOr<std::unique_ptr<KafkaChangelog>> changelog =
      KafkaChangelog::Create(kafka_, {.topic = topics_.changelog, .group = names_.group});
  if (!changelog.ok()) return changelog.status();
  absl::StatusOr<std::unique_ptr<KafkaHistory>> history =
      KafkaHistory::Create(kafka_, {.topic = topics_.events, .group = names_.group});
  if (!history.ok()) return history.status();
  io.history = *std::move(history);
  io.source = *std::move(source);
  io.transactions = *std::move(transactions);
  io.changelog = *std::move(changelog);
  return io;
}

absl::Status Service::start_instance(int32_t partitions) {
  InstanceOptions options;
  options.partitions = partitions;
  WorkerOptions& worker = options.worker;
  worker.commit_interval = ToAbsl(options_.commit_interval);
  worker.backfill.busy_share = options_.backfill_share;
  worker.task.events_topic = topics_.events;
  worker.task.group = names_.group;
  worker.task.settings = options_.settings;
  const std::string time_zone_data = TimeZoneDataVersion();
  worker.task.time_zone_data_version = time_zone_data;
  const absl::StatusOr<ChangeFormat> format = ParseChangeFormat(options_.output_format);
  if (!format.ok()) return format.status();
  worker.task.output_format = *format;
  worker.task.start_at_latest = options_.start_at_latest;
  worker.task.accept_lost_input = options_.accept_lost_input;
  worker.task.accept_lost_definitions = options_.accept_lost_definitions;
  worker.definitions_end = [this] { return definitions_->end(); };
  worker.task.max_replay_events = options_.max_replay_events;
  worker.task.max_replay_time = ToAbsl(options_.max_replay_time);

  int workers = options_.workers;
  if (workers == 0)
    workers = std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / 2);
  workers = std::min(workers, partitions);
  std::vector<StreamInstance::Io> ios;
  for (int i = 0; i < workers; ++i) {
    absl::Status made = keep_trying([&](absl::Duration) {
      absl::StatusOr<StreamInstance::Io> io = make_io(i);
      if (!io.ok()) return io.status();
      ios.push_back(*std::move(io));
      return absl::OkStatus();
    });
    if (!made.ok()) return made;
  }
  instance_ = std::make_unique<StreamInstance>(std::move(options), std::move(ios), clock_);

  absl::StatusOr<std::unique_ptr<KafkaDefinitionLog>> definitions = KafkaDefinitionLog::Create(
      kafka_,
      {.topic = topics_.definitions,
       .group = names_.group,
       .changed = [this](const std::shared_ptr<const KafkaDefinitionLog::Segments>& all,
                         Offset end) { instance_->want(all, end); }},
      instance_->board());
  if (!definitions.ok()) return definitions.status();
  definitions_ = *std::move(definitions);
  absl::Status read = keep_trying([&](absl::Duration limit) {
    if (definitions_->wait_ready(absl::Now() + limit)) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("topic ", topics_.definitions, " is not read yet"));
  });
  if (!read.ok()) return read;
  spdlog::info("workers: {}, partitions of {}: {}, segments: {}, time zone data: {}", workers,
               topics_.events, partitions, definitions_->All()->size(), time_zone_data);
  instance_->start();
  return absl::OkStatus();
}

absl::Status Service::start_grpc() {
  changes_ = std::make_unique<KafkaChangeFeed>(
      kafka_, KafkaChangeFeed::Options{.topic = topics_.changes, .group = names_.group});
  const auto now = [] { return absl::Now(); };
  segments_ = std::make_unique<SegmentService>(*definitions_, now, access_, instance_.get());
  memberships_ =
      std::make_unique<MembershipService>(*instance_, *definitions_, *changes_, now, access_);
  ServerOptions grpc;
  grpc.address = options_.listen;
  grpc.tls = tls_;
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(grpc, *segments_, *memberships_);
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  spdlog::info("gRPC on {} (port {})", options_.listen, server_->port());
  return absl::OkStatus();
}

absl::Status Service::start_http() {
  if (options_.http.empty()) return absl::OkStatus();
  const absl::StatusOr<ListenAddress> address = ListenAddress::Parse(options_.http);
  if (!address.ok()) return address.status();
  absl::StatusOr<std::unique_ptr<HttpServer>> http = HttpServer::Start(
      *address,
      {.metrics = [this] { return metrics(); }, .not_ready = [this] { return not_ready(); }});
  if (!http.ok()) return http.status();
  http_ = *std::move(http);
  spdlog::info("HTTP on {} (port {})", options_.http, http_->port());
  return absl::OkStatus();
}

std::string Service::metrics() const {
  return started_ ? MetricsPage(*instance_, *definitions_, *changes_) : MetricsPage();
}

std::string Service::not_ready() const {
  if (stopping_) return "stopping";
  if (!started_) {
    const std::scoped_lock lock(mutex_);
    return absl::StrCat("waiting for Kafka at ", kafka_.bootstrap_servers(), ", for ",
                        absl::ToInt64Seconds(absl::Now() - begun_), " s so far",
                        unreached_.ok() ? "" : ": ", unreached_.message());
  }
  std::string why = partitions_not_ready();
  const std::optional<absl::Time> silent_since =
      why.empty() ? std::nullopt : pulse_->silent_since();
  if (!silent_since) return why;
  // No length of time: what changes is logged.
  return absl::StrCat("Kafka at ", kafka_.bootstrap_servers(), " has not answered since ",
                      absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", *silent_since, absl::UTCTimeZone()),
                      ": ", why);
}

std::string Service::partitions_not_ready() const {
  if (!instance_->assigned()) return "the consumer group is still giving out its partitions";
  const std::map<Partition, TaskBoard::Entry> entries = instance_->board().entries();
  if (entries.empty()) return "no partition is assigned to this instance";
  std::vector<Partition> failed;
  std::vector<Partition> restoring;
  std::string why;
  for (const auto& [partition, entry] : entries) {
    if (entry.state == TaskState::kFailed) {
      failed.push_back(partition);
      if (why.empty()) why = entry.failure;
    } else if (entry.state != TaskState::kRunning) {
      restoring.push_back(partition);
    }
  }
  if (!failed.empty()) {
    return absl::StrCat("partitions failed: ", absl::StrJoin(failed, ", "), ": ", why);
  }
  if (!restoring.empty()) {
    return absl::StrCat("partitions are being restored: ", absl::StrJoin(restoring, ", "));
  }
  if (const std::vector<Partition> held_up = instance_->held_up(); !held_up.empty()) {
    return absl::StrCat("partitions wait for Kafka: ", absl::StrJoin(held_up, ", "));
  }
  return "";
}

void Service::tell_readiness() {
  std::string now = not_ready();
  if (now == told_) return;
  server_->SetServing(now.empty());
  if (now.empty()) {
    std::vector<Partition> partitions;
    for (const auto& [partition, entry] : instance_->board().entries()) {
      partitions.push_back(partition);
    }
    spdlog::info("ready: partitions {} run here", absl::StrJoin(partitions, ", "));
  } else {
    spdlog::info("not ready: {}", now);
  }
  told_ = std::move(now);
}

void Service::stop() {
  const absl::Time begun = absl::Now();
  stopping_ = true;
  server_->SetServing(false);
  server_->Shutdown(kCallsLimit);
  instance_->stop();
  http_.reset();
  pulse_.reset();
  server_.reset();
  memberships_.reset();
  segments_.reset();
  changes_.reset();
  definitions_.reset();
  instance_.reset();
  spdlog::info("stopped after {:.1f} s", absl::ToDoubleSeconds(absl::Now() - begun));
}

}  // namespace

ExitStatus Serve(const Options& options, Signals& signals) {
  absl::StatusOr<KafkaSettings> kafka =
      KafkaSettings::Parse(options.bootstrap_servers, options.kafka);
  if (!kafka.ok()) {
    spdlog::error("{}", Text(kafka.status()));
    return kWrongUse;
  }
  absl::StatusOr<Access> access =
      options.token_file.empty() ? Access::Open() : Access::FromFile(options.token_file);
  if (!access.ok()) {
    spdlog::error("{}", Text(access.status()));
    return kWrongUse;
  }
  absl::StatusOr<std::optional<ServerTls>> tls = ReadTls(options);
  if (!tls.ok()) {
    spdlog::error("{}", Text(tls.status()));
    return kWrongUse;
  }
  return Service(options, *std::move(kafka), *std::move(access), *std::move(tls), signals).run();
}

}  // namespace segmentd
