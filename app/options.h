// What segmentd is told: by flags, by environment variables and by a configuration file, from one
// declaration.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/exit_status.h"
#include "segment/settings.h"
#include "segment/time.h"

namespace segmentd {

struct Options {
  std::string bootstrap_servers = "127.0.0.1:9092";
  // Settings of the Kafka client, "name=value", each name once.
  std::vector<std::string> kafka;
  std::string topic_prefix;
  bool create_topics = true;
  int32_t partitions = 4;
  // 0: 3, or as many as there are brokers.
  int32_t replication_factor = 0;
  // Empty: the host's name and the port of `listen`.
  std::string instance_id;
  bool start_at_latest = false;
  bool accept_lost_input = false;
  bool accept_lost_definitions = false;

  // 0: half of the processor's cores.
  int workers = 0;
  Settings settings;
  Duration commit_interval = Duration::Millis(10);
  int64_t max_replay_events = 200'000;
  Duration max_replay_time = Duration::Seconds(10);
  // Part of a thread's time.
  double backfill_share = 0.3;
  std::string output_format = "json";

  std::string listen = "127.0.0.1:7600";
  // Empty: no HTTP.
  std::string http = "127.0.0.1:7601";
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;
  std::string token_file;

  // Absent: waits for Kafka as long as it takes.
  std::optional<Duration> startup_timeout;
  Duration stop_timeout = Duration::Seconds(30);
  std::string log_level = "info";
  bool log_json = false;
};

struct ParsedOptions {
  // Absent: there is nothing to run, `text` is to be shown and `status` to be returned.
  std::optional<Options> options;
  ExitStatus status = kDone;
  // Help, version or configuration; an error unless `status` is kDone.
  std::string text;
};

// A flag wins over the environment, which wins over the file; of `kafka` each setting by its name,
// so that secrets can stay in the file. `arguments` are without the program's name.
ParsedOptions ParseOptions(const std::vector<std::string>& arguments);

}  // namespace segmentd
