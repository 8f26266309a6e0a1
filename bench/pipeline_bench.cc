// The whole pipeline over a real broker on this machine: a backlog of events worked off by segmentd
// (events/s, CPU of the segmentd process per million events), and the time from an event's append
// to its change being readable with read_committed, in quiet and while a window slides past for
// many users at once.
//
//   pipeline_bench [EVENTS] [SECONDS] [USERS]
//     default 1,000,000 events, 20 s of 1,000 events/s, 1,000,000 users; 0 leaves a part out
//
// segmentd is taken from $SEGMENTD_BIN_DIR, or from ../bin beside this program's folder.
#include <httplib.h>
#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/workload.h"
#include "segment/definition_text.h"
#include "segment/settings.h"
#include "tests/kafka/broker.h"
#include "tests/kafka/failure.h"

namespace segmentd {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kUsers = 200'000;
constexpr int kNames = 20;
constexpr int kSegments = 100;

[[noreturn]] void Exit(const std::string& why) {
  std::fprintf(stderr, "pipeline_bench: %s\n", why.c_str());
  std::exit(1);
}

int64_t NowMillis() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string BinDir() {
  if (const char* dir = std::getenv("SEGMENTD_BIN_DIR")) return dir;
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "bin";
}

// A segmentd process, stopped cleanly at the end.
class Server {
 public:
  Server(const std::string& bootstrap, const std::string& prefix, int partitions, int port)
      : http_("127.0.0.1", port + 1) {
    http_.set_connection_timeout(1);
    const std::vector<std::string> arguments = {BinDir() + "/segmentd",
                                                "--bootstrap",
                                                bootstrap,
                                                "--topic-prefix",
                                                prefix,
                                                "--partitions",
                                                std::to_string(partitions),
                                                "--workers",
                                                "1",
                                                "--listen",
                                                "127.0.0.1:" + std::to_string(port),
                                                "--http",
                                                "127.0.0.1:" + std::to_string(port + 1),
                                                "--log-level",
                                                "warning"};
    std::vector<char*> argv;
    argv.reserve(arguments.size() + 1);
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      execv(argv[0], argv.data());
      std::perror(argv[0]);
      _exit(127);
    }
    await("readiness", [&] {
      const auto answer = http_.Get("/readyz");
      return answer && answer->status == 200;
    });
  }

  ~Server() { stop(); }

  void stop() {
    if (pid_ == 0) return;
    kill(pid_, SIGTERM);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    if (status != 0) Exit("segmentd ended with status " + std::to_string(status));
  }

  // The sum of a metric over its labels.
  double metric(const std::string& name) {
    const auto answer = http_.Get("/metrics");
    if (!answer || answer->status != 200) return -1;
    double sum = 0;
    std::istringstream lines(answer->body);
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind(name, 0) != 0 || (line[name.size()] != '{' && line[name.size()] != ' '))
        continue;
      sum += std::atof(line.substr(line.rfind(' ')).c_str());
    }
    return sum;
  }

  // User and system time of the process so far.
  double cpu_seconds() const {
    std::ifstream in("/proc/" + std::to_string(pid_) + "/stat");
    std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    std::istringstream fields(text.substr(text.rfind(')') + 2));
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    double user = 0;
    double system = 0;
    fields >> user >> system;
    return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
  }

  template <typename Condition>
  void await(const char* what, Condition done) {
    const auto deadline = Clock::now() + std::chrono::minutes(3);
    while (!done()) {
      if (Clock::now() > deadline) Exit(std::string("no ") + what + " within 3 minutes");
      if (waitpid(pid_, nullptr, WNOHANG) != 0) Exit("segmentd has ended");
      // A scrape costs the server too.
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
  }

 private:
  pid_t pid_ = 0;
  httplib::Client http_;
};

class Producer {
 public:
  explicit Producer(const std::string& bootstrap) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    const std::pair<const char*, std::string> settings[] = {
        {"bootstrap.servers", bootstrap},
        {"partitioner", "murmur2_random"},
        {"linger.ms", "5"},
        {"queue.buffering.max.messages", "200000"},
        {"socket.nagle.disable", "true"},
        {"enable.idempotence", "true"}};
    char error[256];
    for (const auto& [name, value] : settings) {
      if (rd_kafka_conf_set(conf, name, value.c_str(), error, sizeof error) != RD_KAFKA_CONF_OK) {
        Exit(error);
      }
    }
    handle_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
    if (!handle_) Exit(error);
  }
  ~Producer() { rd_kafka_destroy(handle_); }

  void send(const std::string& topic, const std::string& key, const std::string& value) {
    while (true) {
      const rd_kafka_resp_err_t error = rd_kafka_producev(
          handle_, RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_KEY(key.data(), key.size()),
          RD_KAFKA_V_VALUE(const_cast<char*>(value.data()), value.size()),
          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR) break;
      if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) Exit(rd_kafka_err2str(error));
      rd_kafka_poll(handle_, 10);
    }
    rd_kafka_poll(handle_, 0);
  }
  void flush() {
    if (rd_kafka_flush(handle_, 60'000) != RD_KAFKA_RESP_ERR_NO_ERROR) Exit("events not sent");
  }

 private:
  rd_kafka_t* handle_;
};

void Define(Server& server, Producer& producer, const std::string& prefix,
            const std::vector<segments::v1::Segment>& segments) {
  for (const auto& segment : segments) {
    producer.send(prefix + "segment-definitions", segment.id(), SegmentToJson(segment));
  }
  producer.flush();
  server.await("activation of the segments", [&] {
    return server.metric(R"(segmentd_segments{status="active"})") >=
           static_cast<double>(segments.size());
  });
}

void Throughput(const std::string& bootstrap, int64_t events) {
  const std::string prefix = "throughput.";
  const bench::Workload workload(kSegments, kUsers, kNames);
  Producer producer(bootstrap);
  {
    Server server(bootstrap, prefix, 4, 17600);
    Define(server, producer, prefix, workload.segments());
  }
  const int64_t start_ms = NowMillis() - events / 10;
  std::string body;
  for (int64_t i = 0; i < events; ++i) {
    body.clear();
    workload.append_event(i, start_ms + i / 10, &body);
    producer.send(prefix + "events", workload.user(i), body);
  }
  producer.flush();

  Server server(bootstrap, prefix, 4, 17600);
  const double cpu_before = server.cpu_seconds();
  const double events_before = server.metric("segmentd_events_total");
  const auto begin = Clock::now();
  server.await("end of the backlog", [&] {
    return server.metric("segmentd_events_total") >= static_cast<double>(events);
  });
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  const double cpu = server.cpu_seconds() - cpu_before;
  const double done = server.metric("segmentd_events_total") - events_before;
  const double changes = server.metric("segmentd_changes_total");
  std::printf("%-44s %12.0f\n", "segments", static_cast<double>(kSegments));
  std::printf("%-44s %12.0f\n", "events in the backlog", static_cast<double>(events));
  std::printf("%-44s %12.2f\n", "changes an event", changes / static_cast<double>(events));
  std::printf("%-44s %12.0f\n", "events/s, 1 worker", done / seconds);
  std::printf("%-44s %12.2f\n", "CPU seconds per million events", cpu / done * 1e6);
  std::printf("%-44s %12.0f\n", "events per CPU second", done / cpu);
  std::fflush(stdout);
}

// Consumes the changes of partition 0 until told to stop.
class ChangeReader {
 public:
  ChangeReader(const std::string& bootstrap, const std::string& topic) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    const std::pair<const char*, std::string> settings[] = {{"bootstrap.servers", bootstrap},
                                                            {"group.id", "bench"},
                                                            {"isolation.level", "read_committed"},
                                                            {"fetch.wait.max.ms", "5"},
                                                            {"enable.auto.commit", "false"}};
    char error[256];
    for (const auto& [name, value] : settings) {
      rd_kafka_conf_set(conf, name, value.c_str(), error, sizeof error);
    }
    handle_ = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof error);
    if (!handle_) Exit(error);
    rd_kafka_poll_set_consumer(handle_);
    rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic.c_str(), 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(handle_, list);
    rd_kafka_topic_partition_list_destroy(list);
    thread_ = std::thread([this] { run(); });
  }
  ~ChangeReader() {
    stop_ = true;
    thread_.join();
    rd_kafka_consumer_close(handle_);
    rd_kafka_destroy(handle_);
  }
  int64_t seen() const { return seen_; }
  // Changes by a window that slid, and when the last of them was read.
  int64_t slid() const { return slid_; }
  int64_t last_slid_at() const { return last_slid_at_; }
  // Only after the last change was seen.
  const std::map<std::string, int64_t>& read_at() const { return read_at_; }

 private:
  void run() {
    while (!stop_) {
      rd_kafka_message_t* message = rd_kafka_consumer_poll(handle_, 100);
      if (!message) continue;
      if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const std::string value(static_cast<const char*>(message->payload), message->len);
        if (value.find("\"WINDOW_SLID\"") != std::string::npos) {
          last_slid_at_ = NowMillis();
          ++slid_;
        }
        const size_t at = value.find("\"message_id\":\"");
        if (at != std::string::npos) {
          const size_t from = at + 14;
          if (read_at_.emplace(value.substr(from, value.find('"', from) - from), NowMillis())
                  .second) {
            ++seen_;
          }
        }
      }
      rd_kafka_message_destroy(message);
    }
  }

  rd_kafka_t* handle_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> seen_{0};
  std::atomic<int64_t> slid_{0};
  std::atomic<int64_t> last_slid_at_{0};
  std::map<std::string, int64_t> read_at_;
};

// Every event of the names 0 to 9 is told.
segments::v1::Segment EveryEvent() {
  segments::v1::Segment every;
  every.set_id("every");
  every.set_name("Every event");
  every.set_version(1);
  auto* actions = every.mutable_live()->mutable_actions();
  for (int name = 0; name < 10; ++name) {
    actions->add_any_of()->set_event("Event " + std::to_string(name));
  }
  actions->set_repeat(true);
  return every;
}

// Sends events at a steady rate and remembers when.
class Stream {
 public:
  static constexpr int64_t kPerSecond = 1000;

  Stream(const bench::Workload& workload, std::string topic)
      : workload_(workload), topic_(std::move(topic)) {}

  // Goes on until `done`, which is asked once a second.
  template <typename Done>
  void send(Producer& producer, Done done) {
    const auto begin = Clock::now();
    std::string body;
    for (int64_t i = 0; i % kPerSecond != 0 || !done(); ++i) {
      std::this_thread::sleep_until(begin + std::chrono::milliseconds(i * 1000 / kPerSecond));
      body.clear();
      const int64_t now = NowMillis();
      workload_.append_event(i, now, &body);
      sent_at_["m-" + std::to_string(i)] = now;
      producer.send(topic_, workload_.user(i), body);
    }
    producer.flush();
  }
  int64_t sent() const { return static_cast<int64_t>(sent_at_.size()); }

  // Of the events sent from `from` up to `to`, the quantiles.
  void print(const std::map<std::string, int64_t>& read_at, int64_t from, int64_t to,
             const std::string& name) const {
    std::vector<int64_t> millis;
    for (const auto& [id, at] : read_at) {
      const auto sent = sent_at_.find(id);
      if (sent != sent_at_.end() && sent->second >= from && sent->second < to) {
        millis.push_back(at - sent->second);
      }
    }
    if (millis.empty()) Exit("no change was read");
    std::sort(millis.begin(), millis.end());
    const auto quantile = [&](double q) {
      return static_cast<double>(
          millis[static_cast<size_t>(q * static_cast<double>(millis.size() - 1))]);
    };
    std::printf("%-44s %12zu\n", (name + ": changes timed").c_str(), millis.size());
    std::printf("%-44s %12.0f\n", (name + ": sent -> readable, p50, ms").c_str(), quantile(0.5));
    std::printf("%-44s %12.0f\n", (name + ": sent -> readable, p99, ms").c_str(), quantile(0.99));
    std::printf("%-44s %12.0f\n", (name + ": sent -> readable, max, ms").c_str(), quantile(1));
    std::fflush(stdout);
  }

 private:
  const bench::Workload& workload_;
  const std::string topic_;
  std::map<std::string, int64_t> sent_at_;
};

// Until no more changes come.
void Settle(const ChangeReader& reader) {
  const auto settled = Clock::now() + std::chrono::seconds(2);
  for (int64_t last = -1; Clock::now() < settled || last != reader.seen();) {
    last = reader.seen();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

void Latency(const std::string& bootstrap, int64_t seconds) {
  const std::string prefix = "latency.";
  bench::Workload workload(kSegments, kUsers, kNames);
  std::vector<segments::v1::Segment> segments = workload.segments();
  segments.push_back(EveryEvent());
  Producer producer(bootstrap);
  Server server(bootstrap, prefix, 1, 17610);
  Define(server, producer, prefix, segments);
  ChangeReader reader(bootstrap, prefix + "segment-membership-changes");
  Stream stream(workload, prefix + "events");
  // The first five seconds warm up the clients and the broker's JVM.
  const int64_t warm = NowMillis() + 5000;
  stream.send(producer, [&] { return stream.sent() >= seconds * Stream::kPerSecond; });
  // Events that no segment tells are about half.
  server.await("end of the stream", [&] {
    return server.metric("segmentd_events_total") >= static_cast<double>(stream.sent()) &&
           static_cast<double>(reader.seen()) >= 0.4 * static_cast<double>(stream.sent());
  });
  Settle(reader);
  stream.print(reader.read_at(), warm, NowMillis(), "1,000 events/s, one partition");
}

// The midnight wave: at one moment a window slides past for all users, while events go on.
void Wave(const std::string& bootstrap, int64_t users) {
  const std::string prefix = "wave.";
  bench::Workload workload(kSegments, kUsers, kNames);
  std::vector<segments::v1::Segment> segments = workload.segments();
  segments.push_back(EveryEvent());
  segments::v1::Segment recent;
  recent.set_id("recent");
  recent.set_name("Seen lately");
  recent.set_version(1);
  recent.mutable_past_behavior()->mutable_did()->set_event("Seen");
  recent.mutable_past_behavior()->mutable_did()->set_within_last("90s");
  segments.push_back(recent);
  Producer producer(bootstrap);
  Server server(bootstrap, prefix, 1, 17620);
  Define(server, producer, prefix, segments);
  ChangeReader reader(bootstrap, prefix + "segment-membership-changes");

  const int64_t begin = NowMillis();
  const int64_t slides = begin + 90'000;
  for (int64_t i = 0; i < users; ++i) {
    const std::string user = "wave-" + std::to_string(i);
    producer.send(prefix + "events", user,
                  R"({"type":"track","userId":")" + user + R"(","event":"Seen","timestamp":)" +
                      std::to_string(begin) + "}");
  }
  producer.flush();
  server.await("the users", [&] {
    return server.metric("segmentd_events_total") >= static_cast<double>(users);
  });
  if (NowMillis() > slides - 10'000) Exit("the users took too long to come in");
  while (NowMillis() < slides - 8'000) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  Stream stream(workload, prefix + "events");
  stream.send(producer, [&] {
    if (NowMillis() > slides + 60'000) Exit("the wave took more than a minute");
    return reader.slid() >= users && NowMillis() > slides + 5'000;
  });
  server.await("end of the stream", [&] {
    return server.metric("segmentd_events_total") >= static_cast<double>(users + stream.sent());
  });
  Settle(reader);
  // The clock is behind the wall clock by the grace.
  const int64_t due = slides + Settings().deadline_grace.millis();
  const int64_t done = reader.last_slid_at();
  std::printf("%-44s %12.0f\n", "wave: users", static_cast<double>(users));
  std::printf("%-44s %12.1f\n", "wave: due -> last change readable, s",
              static_cast<double>(done - due) / 1000);
  stream.print(reader.read_at(), slides - 5'000, due, "before the wave");
  stream.print(reader.read_at(), due, done, "in the wave");
}

}  // namespace
}  // namespace segmentd

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]).find_first_not_of("0123456789") != std::string_view::npos) {
      segmentd::Exit(std::string(argv[i]) + " is no number; [EVENTS] [SECONDS] [USERS] are taken");
    }
  }
  const int64_t events = argc > 1 ? std::atoll(argv[1]) : 1'000'000;
  const int64_t seconds = argc > 2 ? std::atoll(argv[2]) : 20;
  const int64_t users = argc > 3 ? std::atoll(argv[3]) : 1'000'000;
  try {
    segmentd::Broker broker;
    if (events > 0) segmentd::Throughput(broker.address(), events);
    if (seconds > 5) segmentd::Latency(broker.address(), seconds);
    if (users > 0) segmentd::Wave(broker.address(), users);
  } catch (const segmentd::Failure& failure) {
    segmentd::Exit(failure.what());
  }
  return 0;
}
