#include "app/options.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

#include "app/broker_addresses.h"
#include "app/config_file.h"
#include "app/duration_option.h"
#include "app/help.h"
#include "app/kafka_option.h"
#include "app/listen_address.h"
#include "segment/absl_view.h"
#include "stream/kafka_settings.h"

namespace segmentd {
namespace {

constexpr char kDescription[] =
    "segmentd watches a Kafka topic of user events, keeps for every user which segments the user "
    "is in right\n"
    "now, and writes each change to Kafka exactly once.\n";

constexpr char kExamples[] =
    "Each option can be given as a flag, as the environment variable named, or in the file of "
    "--config as a line\n"
    "`name = \"value\"` without the dashes. A flag wins over the environment, which wins over the "
    "file;\n"
    "of --kafka each setting by itself.\n"
    "\n"
    "Examples:\n"
    "  segmentd --bootstrap-servers kafka-1:9092,kafka-2:9092 --topic-prefix prod.\n"
    "  segmentd --kafka security.protocol=SASL_SSL --kafka sasl.mechanisms=PLAIN --config "
    "/etc/segmentd/secrets.toml\n"
    "  segmentd --listen 0.0.0.0:7600 --tls-cert server.pem --tls-key server.key --tls-client-ca "
    "clients.pem\n"
    "  segmentd --backfill-share 0.8    # new segments sooner, events in a rush later\n"
    "  segmentd --config segmentd.toml --print-config\n"
    "\n"
    "Exit status: 0 stopped as asked; 2 wrong options; 3 Kafka, a topic or an address could not be "
    "used,\n"
    "or the stop took longer than --stop-timeout; 128 + n ended at once by a second signal, n.\n";

constexpr std::string_view kRedacted = "(redacted)";

std::string EnvironmentName(std::string_view option) {
  return absl::StrCat("SEGMENTD_",
                      absl::AsciiStrToUpper(absl::StrReplaceAll(AbslView(option), {{"-", "_"}})));
}

// What to show of a `--kafka` setting.
std::string Redacted(const std::string& setting) {
  const size_t end = setting.find('=');
  if (end == std::string::npos || !IsSecretKafkaSetting(setting.substr(0, end))) return setting;
  return absl::StrCat(setting.substr(0, end + 1), AbslView(kRedacted));
}

// As TOML writes numbers: digits, with or without a point among them.
bool IsNumber(std::string_view text) {
  const auto digit = [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); };
  return !text.empty() && digit(text.front()) && digit(text.back()) &&
         std::count(text.begin(), text.end(), '.') <= 1 &&
         std::all_of(text.begin(), text.end(), [&](char c) { return digit(c) || c == '.'; });
}

class Declaration {
 public:
  explicit Declaration(Options* options);

  ParsedOptions parse(std::vector<std::string> arguments);

 private:
  template <typename T>
  CLI::Option* value(const std::string& names, T* target, const std::string& type,
                     const std::string& description) {
    return named(app_.add_option(names, *target, description)->capture_default_str(), type);
  }
  CLI::Option* duration(const std::string& name, Duration* target, Duration low, Duration high,
                        const std::string& description) {
    return duration(
               name, [target](Duration d) { *target = d; }, low, high, description)
        ->default_str(FormatDuration(*target));
  }
  CLI::Option* duration(const std::string& name, std::function<void(Duration)> set, Duration low,
                        Duration high, const std::string& description);
  CLI::Option* named(CLI::Option* option, const std::string& type) {
    return option->type_name(type)
        ->envname(EnvironmentName(option->get_lnames().front()))
        ->group(group_);
  }

  // Takes what the file says of options that were not given otherwise.
  void read_file(const std::string& path);
  std::string shown() const;
  // An error in words, empty for none.
  std::string check() const;

  Options* options_;
  CLI::App app_;
  std::string group_;
  std::string config_;
  // What the file says of --kafka.
  std::vector<std::string> kafka_in_file_;
  std::string start_ = "earliest";
  std::string log_format_ = "text";
  bool print_config_ = false;
  // By name, for shown().
  std::map<std::string, const bool*> flags_;
};

Declaration::Declaration(Options* options) : options_(options), app_(kDescription, "segmentd") {
  app_.formatter(std::make_shared<Help>());
  app_.footer(kExamples);
  app_.set_version_flag("--version", absl::StrCat("segmentd ", SEGMENTD_VERSION));
  app_.add_option("--config", config_, "File with options, TOML")
      ->envname("SEGMENTD_CONFIG")
      ->type_name("FILE");
  app_.add_flag("--print-config", print_config_,
                "Write the options as a file for --config, secrets left out, and end");
  Options& o = *options;

  group_ = "Kafka";
  value("--bootstrap-servers,--bootstrap", &o.bootstrap_servers, "HOST:PORT,...",
        "Addresses of Kafka's brokers");
  // Commas and semicolons stand in values, line ends do not.
  value("--kafka", &o.kafka, "NAME=VALUE",
        "Setting of the Kafka client, with librdkafka's name; may be given again, and stand in "
        "lines of their own in the environment")
      ->delimiter('\n')
      ->allow_extra_args(false);
  value("--topic-prefix", &o.topic_prefix, "TEXT", "Begins the name of every topic")
      ->check([](const std::string& text) {
        const bool good = std::all_of(text.begin(), text.end(), [](char c) {
          return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' ||
                 c == '-';
        });
        return good ? "" : "only letters, digits, '.', '_' and '-' can be in a topic's name";
      });
  flags_ = {{"create-topics", &o.create_topics},
            {"accept-lost-input", &o.accept_lost_input},
            {"accept-lost-definitions", &o.accept_lost_definitions}};
  app_.add_flag("--create-topics,!--no-create-topics", o.create_topics,
                "Create topics that are missing (default); otherwise that is an error")
      ->envname("SEGMENTD_CREATE_TOPICS")
      ->group(group_);
  value("--partitions", &o.partitions, "N",
        "Partitions of the events topic if it is created, and so of the others")
      ->check(CLI::Range(1, 10000).description(""));
  value("--replication-factor", &o.replication_factor, "N",
        "Copies of topics that are created; 0 for 3, or as many as there are brokers")
      ->check(CLI::Range(0, 100).description(""));
  // Was an option. In the environment it would be passed over like anything unknown, and a second
  // group read the same topics beside the one that it used to name. Hidden from the help.
  app_.add_option_function<std::string>(
          "--group",
          [](const std::string&) {
            throw CLI::ConfigError(
                "there is no option --group: the consumer group follows from --topic-prefix. If "
                "it was another than segmentd, stop all instances before you start one without it");
          })
      ->envname(EnvironmentName("group"))
      ->expected(0, 1)
      ->group("");
  value("--instance-id", &o.instance_id, "NAME",
        "This instance's name in the consumer group, the same after a restart; host name and port "
        "of --listen if not given");
  value("--start", &start_, "WHERE",
        "earliest or latest: where the very first start begins to read")
      ->check(CLI::IsMember({"earliest", "latest"}).description(""));
  app_.add_flag("--accept-lost-input", o.accept_lost_input,
                "Go on behind events that Kafka deleted before they were read, instead of refusing")
      ->envname("SEGMENTD_ACCEPT_LOST_INPUT")
      ->group(group_);
  app_.add_flag("--accept-lost-definitions", o.accept_lost_definitions,
                "Go on with a definitions topic that was deleted or made again, which takes users "
                "out of the segments that are not in it, instead of refusing")
      ->envname("SEGMENTD_ACCEPT_LOST_DEFINITIONS")
      ->group(group_);

  group_ = "Memberships";
  const Duration none;
  duration("--max-lateness", &o.settings.max_lateness, none, Duration::Days(30),
           "Events that are later than this take no part in triggers");
  duration("--deadline-grace", &o.settings.deadline_grace, none, Duration::Hours(1),
           "How long deadlines wait for events that are still on their way");
  duration("--max-future-skew", &o.settings.max_future_skew, none, Duration::Hours(24),
           "Event times further ahead of the record time are replaced by it");
  value("--output-format", &o.output_format, "FORMAT", "json or protobuf: the change records")
      ->check(CLI::IsMember({"json", "protobuf"}).description(""));

  group_ = "Work";
  value("--workers", &o.workers, "N", "Threads that process partitions; 0 for half of the cores")
      ->check(CLI::Range(0, 256).description(""));
  duration("--commit-interval", &o.commit_interval, Duration::Millis(1), Duration::Seconds(10),
           "Least time between two transactions while there are changes to tell");
  value("--max-replay-events", &o.max_replay_events, "N",
        "Events that a recovery has to read again at most, a partition")
      ->check(CLI::Range(int64_t{1000}, int64_t{100'000'000}).description(""));
  duration("--max-replay-time", &o.max_replay_time, Duration::Seconds(1), Duration::Hours(24),
           "A user's changed state is saved after this time at the latest");
  value("--backfill-share", &o.backfill_share, "FRACTION",
        "Part of a thread's time, 0.05 to 1, that reading the past for a segment or an estimate "
        "may take while its worker is busy with events; otherwise it takes all")
      ->check([](const std::string& text) {
        double share = 0;
        // Not a number is in no range.
        const bool good = absl::SimpleAtod(text, &share) && share >= 0.05 && share <= 1;
        return good ? "" : absl::StrCat(text, " is not between 0.05 and 1");
      });

  group_ = "Serving";
  value("--listen", &o.listen, "HOST:PORT",
        "Address of the gRPC API; beyond this machine only with TLS");
  value("--http", &o.http, "HOST:PORT", "Address of /metrics, /healthz and /readyz; empty for none")
      ->expected(0, 1);
  value("--tls-cert", &o.tls_cert, "FILE", "The server's certificate chain (PEM)");
  value("--tls-key", &o.tls_key, "FILE", "Its key (PEM)");
  value("--tls-client-ca", &o.tls_client_ca, "FILE",
        "Authorities whose client certificates are accepted (PEM)");
  value("--token-file", &o.token_file, "FILE",
        "Who may call what: lines of a role (read, write, admin) and a token's SHA-256");

  group_ = "Running";
  duration(
      "--startup-timeout", [options](Duration d) { options->startup_timeout = d; },
      Duration::Seconds(1), Duration::Days(7),
      "Give up when Kafka can't be reached for this long; without it wait, and say so");
  duration("--stop-timeout", &o.stop_timeout, Duration::Seconds(1), Duration::Hours(1),
           "Longest time for a clean stop");
  value("--log-level", &o.log_level, "LEVEL", "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}).description(""));
  value("--log-format", &log_format_, "FORMAT", "text or json; to standard error")
      ->check(CLI::IsMember({"text", "json"}).description(""));
}

CLI::Option* Declaration::duration(const std::string& name, std::function<void(Duration)> set,
                                   Duration low, Duration high, const std::string& description) {
  return named(AddDuration(app_, name, std::move(set), low, high, description), "DURATION");
}

void Declaration::read_file(const std::string& path) {
  const absl::StatusOr<std::vector<ConfigLine>> lines = ReadConfigFile(path);
  if (!lines.ok()) throw CLI::ConfigError(std::string(lines.status().message()));
  std::map<const CLI::Option*, std::string_view> names;
  for (const ConfigLine& line : *lines) {
    CLI::Option* const option = app_.get_option_no_throw("--" + line.name);
    if (option == nullptr || line.name == "help" || line.name == "config" ||
        line.name == "print-config" || line.name == "version") {
      throw CLI::ConfigError(absl::StrCat(path, ": there is no option ", line.name,
                                          "; `segmentd --help` names them all"));
    }
    // A flag may be named by what it denies: the file has no order by which one of them would win.
    if (const auto [first, only] = names.emplace(option, line.name); !only) {
      throw CLI::ConfigError(absl::StrCat(path, ": ", AbslView(first->second), " and ", line.name,
                                          " are one option: give one of them"));
    }
    if (line.name == "kafka") {
      for (const std::string& value : line.values) {
        kafka_in_file_ =
            MergeKafkaSettings(std::move(kafka_in_file_), KafkaSettingLines(value.c_str()));
      }
      continue;
    }
    if (line.values.size() != 1) {
      throw CLI::ConfigError(
          absl::StrCat(path, ": ", line.name, ": one value is meant, not ", line.values.size()));
    }
    if (option->count() > 0) continue;
    const bool flag = flags_.contains(option->get_lnames().front());
    const std::string& value = line.values.front();
    option->add_result(flag ? option->get_flag_value(line.name, value) : value);
    option->run_callback();
  }
}

std::string Declaration::shown() const {
  std::string text;
  std::string group;
  for (const CLI::Option* option : app_.get_options()) {
    const std::string& name = option->get_lnames().front();
    if (option->get_group().empty() || option->get_group() == "Options") continue;
    if (option->get_group() != group) {
      group = option->get_group();
      absl::StrAppend(&text, text.empty() ? "" : "\n", "# ", group, "\n");
    }
    if (name == "kafka") {
      std::vector<std::string> settings;
      for (const std::string& setting : options_->kafka) {
        settings.push_back(QuoteForConfig(Redacted(setting)));
      }
      absl::StrAppend(&text, "kafka = [", absl::StrJoin(settings, ", "), "]\n");
      continue;
    }
    if (const auto flag = flags_.find(name); flag != flags_.end()) {
      absl::StrAppend(&text, name, " = ", *flag->second ? "true" : "false", "\n");
      continue;
    }
    const std::string value =
        option->count() > 0 ? option->results().back() : option->get_default_str();
    // Not given, and of no meaning when empty.
    if (value.empty() && name != "http") {
      absl::StrAppend(&text, "# ", name, " = \"\"\n");
      continue;
    }
    absl::StrAppend(&text, name, " = ", IsNumber(value) ? value : QuoteForConfig(value), "\n");
  }
  return text;
}

std::string Declaration::check() const {
  const Options& o = *options_;
  const int tls = (o.tls_cert.empty() ? 0 : 1) + (o.tls_key.empty() ? 0 : 1) +
                  (o.tls_client_ca.empty() ? 0 : 1);
  if (tls != 0 && tls != 3) {
    return "--tls-cert, --tls-key and --tls-client-ca go together: give all three, or none";
  }
  for (const auto& [name, text] : {std::pair{"--listen", &o.listen}, {"--http", &o.http}}) {
    if (text->empty()) continue;
    const absl::StatusOr<ListenAddress> address = ListenAddress::Parse(*text);
    if (!address.ok()) return absl::StrCat(name, ": ", address.status().message());
    if (text == &o.listen && tls == 0 && !address->loopback()) {
      return absl::StrCat(
          name, ": ", *text,
          " can be reached by other machines, and they may only connect by TLS: give "
          "--tls-cert, --tls-key and --tls-client-ca, or listen on 127.0.0.1");
    }
  }
  if (o.listen.empty()) return "--listen: must not be empty";
  const absl::StatusOr<KafkaSettings> kafka = KafkaSettings::Parse(o.bootstrap_servers, o.kafka);
  if (!kafka.ok()) return std::string(kafka.status().message());
  return std::string(CheckBrokerAddresses(*kafka).message());
}

ParsedOptions Declaration::parse(std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());
  try {
    app_.parse(std::move(arguments));
    if (!config_.empty()) read_file(config_);
    options_->kafka =
        MergeKafkaSettings(MergeKafkaSettings(std::move(kafka_in_file_),
                                              KafkaSettingLines(std::getenv("SEGMENTD_KAFKA"))),
                           options_->kafka);
  } catch (const CLI::CallForVersion&) {
    return {std::nullopt, kDone, app_.version() + "\n"};
  } catch (const CLI::Success&) {
    return {std::nullopt, kDone, app_.help()};
  } catch (const CLI::Error& error) {
    return {std::nullopt, kWrongUse,
            absl::StrCat(error.what(), "\n`segmentd --help` tells what is allowed.")};
  }
  options_->start_at_latest = start_ == "latest";
  options_->log_json = log_format_ == "json";
  if (std::string wrong = check(); !wrong.empty()) return {std::nullopt, kWrongUse, wrong};
  if (print_config_) return {std::nullopt, kDone, shown()};
  return {*options_, kDone, ""};
}

}  // namespace

ParsedOptions ParseOptions(const std::vector<std::string>& arguments) {
  Options options;
  return Declaration(&options).parse(arguments);
}

}  // namespace segmentd
