// segmentd's options: where they come from, which source wins, and what is refused.

#include "app/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

namespace segmentd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Environment() { unsetenv(name_); }

 private:
  const char* name_;
};

std::string FileWith(const std::string& text) {
  std::string path = testing::TempDir() + "options_test.toml";
  std::ofstream(path) << text;
  return path;
}

Options Good(const std::vector<std::string>& arguments) {
  ParsedOptions parsed = ParseOptions(arguments);
  EXPECT_TRUE(parsed.options.has_value()) << parsed.text;
  return parsed.options.value_or(Options());
}

std::string Wrong(const std::vector<std::string>& arguments) {
  ParsedOptions parsed = ParseOptions(arguments);
  EXPECT_FALSE(parsed.options.has_value());
  EXPECT_EQ(parsed.status, kWrongUse);
  return parsed.text;
}

TEST(Options, DefaultsServeThisMachineOnly) {
  const Options options = Good({});
  EXPECT_EQ(options.listen, "127.0.0.1:7600");
  EXPECT_EQ(options.http, "127.0.0.1:7601");
  EXPECT_EQ(options.settings.max_lateness, Duration::Hours(2));
  EXPECT_EQ(options.settings.deadline_grace, Duration::Seconds(1));
  EXPECT_EQ(options.backfill_share, 0.3);
  EXPECT_FALSE(options.start_at_latest);
  EXPECT_FALSE(options.startup_timeout.has_value());
}

TEST(Options, FlagsAreTaken) {
  const Options options =
      Good({"--bootstrap", "a:1,b:2", "--topic-prefix", "prod.", "--start", "latest",
            "--max-lateness=30m", "--kafka", "client.rack=x", "--kafka=security.protocol=SSL",
            "--workers", "3", "--no-create-topics", "--log-format", "json", "--startup-timeout",
            "1m", "--output-format", "protobuf"});
  EXPECT_EQ(options.bootstrap_servers, "a:1,b:2");
  EXPECT_EQ(options.topic_prefix, "prod.");
  EXPECT_TRUE(options.start_at_latest);
  EXPECT_EQ(options.settings.max_lateness, Duration::Minutes(30));
  EXPECT_THAT(options.kafka, testing::ElementsAre("client.rack=x", "security.protocol=SSL"));
  EXPECT_EQ(options.workers, 3);
  EXPECT_FALSE(options.create_topics);
  EXPECT_TRUE(options.log_json);
  EXPECT_EQ(options.startup_timeout, Duration::Minutes(1));
  EXPECT_EQ(options.output_format, "protobuf");
  EXPECT_EQ(Good({"--backfill-share", "0.05"}).backfill_share, 0.05);
  EXPECT_EQ(Good({"--backfill-share", "1"}).backfill_share, 1);
}

TEST(Options, FlagWinsOverEnvironmentWinsOverFile) {
  const std::string file = FileWith(
      "instance-id = \"from-file\"\n"
      "topic-prefix = \"from-file.\"\n"
      "workers = 5\n"
      "backfill-share = 0.5\n"
      "create-topics = false\n"
      "max-lateness = \"3h\"\n"
      "kafka = [\"client.rack=r1\", \"client.id=x\"]\n");
  const Environment instance("SEGMENTD_INSTANCE_ID", "from-environment");
  const Environment prefix("SEGMENTD_TOPIC_PREFIX", "from-environment.");
  const Options options = Good({"--config", file, "--instance-id", "from-flag"});
  EXPECT_EQ(options.instance_id, "from-flag");
  EXPECT_EQ(options.topic_prefix, "from-environment.");
  EXPECT_EQ(options.workers, 5);
  EXPECT_EQ(options.backfill_share, 0.5);
  EXPECT_FALSE(options.create_topics);
  EXPECT_FALSE(options.accept_lost_input);
  EXPECT_THAT(ParseOptions({"--print-config", "--accept-lost-input"}).text,
              AllOf(HasSubstr("accept-lost-input = true"), HasSubstr("create-topics = true")));
  EXPECT_FALSE(options.accept_lost_definitions);
  EXPECT_TRUE(Good({"--accept-lost-definitions"}).accept_lost_definitions);
  EXPECT_FALSE(Good({"--accept-lost-definitions"}).accept_lost_input);
  EXPECT_EQ(options.settings.max_lateness, Duration::Hours(3));
  EXPECT_THAT(options.kafka, testing::ElementsAre("client.rack=r1", "client.id=x"));
}

TEST(Options, HttpCanBeTurnedOff) {
  EXPECT_EQ(Good({"--http", ""}).http, "");
  EXPECT_EQ(Good({"--config", FileWith("http = \"\"\n")}).http, "");
}

TEST(Options, EnvironmentHoldsSeveralKafkaSettingsInLines) {
  const Environment kafka("SEGMENTD_KAFKA", "client.rack=a,b;c\nclient.id=d");
  EXPECT_THAT(Good({}).kafka, testing::ElementsAre("client.rack=a,b;c", "client.id=d"));
}

TEST(Options, KafkaSettingsOfAllSourcesAreMergedByName) {
  const std::string file = FileWith(
      "kafka = [\"sasl.username=segmentd\", \"sasl.password=from-file\", \"client.id=from-file\", "
      "\"security.protocol=PLAINTEXT\"]\n");
  const std::vector<std::string> flags = {"--kafka",  "security.protocol=SASL_SSL",
                                          "--kafka",  "sasl.mechanisms=PLAIN",
                                          "--config", file};
  EXPECT_THAT(Good(flags).kafka,
              testing::ElementsAre("sasl.username=segmentd", "sasl.password=from-file",
                                   "client.id=from-file", "security.protocol=SASL_SSL",
                                   "sasl.mechanisms=PLAIN"));
  EXPECT_THAT(Good({"--config", file}).kafka, testing::SizeIs(4));

  const Environment kafka("SEGMENTD_KAFKA",
                          "client.id = from-environment\n\nsasl.mechanisms=SCRAM-SHA-512\n");
  EXPECT_THAT(Good(flags).kafka,
              testing::ElementsAre("sasl.username=segmentd", "sasl.password=from-file",
                                   "client.id = from-environment", "security.protocol=SASL_SSL",
                                   "sasl.mechanisms=PLAIN"));
  EXPECT_THAT(Good({"--config", file}).kafka,
              testing::ElementsAre("sasl.username=segmentd", "sasl.password=from-file",
                                   "security.protocol=PLAINTEXT", "client.id = from-environment",
                                   "sasl.mechanisms=SCRAM-SHA-512"));
  EXPECT_THAT(Good({"--kafka", "client.id=1", "--kafka", "client.id=2"}).kafka,
              testing::ElementsAre("sasl.mechanisms=SCRAM-SHA-512", "client.id=2"));
}

TEST(Options, AWrongKafkaSettingIsRefusedFromEverySource) {
  EXPECT_THAT(Wrong({"--kafka", "client.rack=r1", "--config", FileWith("kafka = [\"acks=0\"]\n")}),
              HasSubstr("\"acks\""));
  const Environment kafka("SEGMENTD_KAFKA", "hunter2");
  EXPECT_THAT(Wrong({"--kafka", "client.rack=r1"}),
              AllOf(HasSubstr("name=value"), Not(HasSubstr("hunter2"))));
}

TEST(Options, WrongOnesSayWhatIsAllowed) {
  EXPECT_THAT(Wrong({"--max-lateness", "2"}), HasSubstr("--max-lateness"));
  EXPECT_THAT(Wrong({"--deadline-grace", "2d"}), HasSubstr("not between"));
  EXPECT_THAT(Wrong({"--start", "now"}), HasSubstr("latest"));
  EXPECT_THAT(Wrong({"--nonsense"}), HasSubstr("--nonsense"));
  EXPECT_THAT(Wrong({"--workers", "many"}), HasSubstr("--workers"));
  for (const char* share : {"0.04", "1.01", "30%", "nan", ""}) {
    EXPECT_THAT(Wrong({"--backfill-share", share}), HasSubstr("not between 0.05 and 1")) << share;
  }
  EXPECT_THAT(Wrong({"--tls-cert", "c.pem"}), HasSubstr("--tls-client-ca"));
  EXPECT_THAT(Wrong({"--kafka", "isolation.level=read_uncommitted"}), HasSubstr("isolation.level"));
  EXPECT_THAT(Wrong({"--topic-prefix", "a/b"}), HasSubstr("topic"));
  EXPECT_THAT(Wrong({"--listen", "7600"}), HasSubstr("host:port"));
  EXPECT_THAT(Wrong({"--http", "127.0.0.1:http"}), HasSubstr("--http"));
  EXPECT_THAT(Wrong({"--listen", "0.0.0.0:7600"}), HasSubstr("--tls-client-ca"));
  EXPECT_THAT(Wrong({"--listen", ""}), HasSubstr("--listen"));
  EXPECT_THAT(Wrong({"--config", "/there/is/none"}), HasSubstr("/there/is/none"));
  EXPECT_THAT(Wrong({"--config", FileWith("wrkers = 1\n")}), HasSubstr("wrkers"));
  EXPECT_THAT(Wrong({"--config", FileWith("[kafka]\nworkers = 1\n")}),
              HasSubstr("line 1: kafka: no option is a table"));
  EXPECT_THAT(Wrong({"--config", FileWith("max-lateness = \"nonsense\"\n")}),
              HasSubstr("--max-lateness"));
}

// Under another one the input would be read, and every change written, once more.
TEST(Options, NoneNamesTheConsumerGroup) {
  const auto refused = HasSubstr("consumer group follows from --topic-prefix");
  EXPECT_THAT(Wrong({"--group", "g"}), refused);
  EXPECT_THAT(Wrong({"--group", "segmentd"}), refused);
  EXPECT_THAT(Wrong({"--group"}), refused);
  EXPECT_THAT(Wrong({"--config", FileWith("group = \"g\"\n")}), refused);
  EXPECT_THAT(Wrong({"--config", FileWith("group = \"\"\n")}), refused);
  EXPECT_THAT(Wrong({"--kafka", "group.id=g"}), refused);
  EXPECT_THAT(Wrong({"--kafka", "group.instance.id=i"}), HasSubstr("\"group.instance.id\""));
  {
    const Environment group("SEGMENTD_GROUP", "g");
    EXPECT_THAT(Wrong({}), refused);
  }
  EXPECT_THAT(ParseOptions({"--help"}).text, Not(HasSubstr("--group")));
  EXPECT_THAT(ParseOptions({"--print-config"}).text, Not(HasSubstr("group")));
}

TEST(Options, EachBrokerIsAHostWithOrWithoutAPort) {
  for (const char* good :
       {"kafka", "kafka:9092", "kafka-1.example.org:1,10.0.0.1:65535", "a:1, b:2,", "[::1]:9092",
        "[::1]", "PLAINTEXT://kafka:9092", "plaintext://[::1]:9092,kafka"}) {
    EXPECT_EQ(Good({"--bootstrap-servers", good}).bootstrap_servers, good);
  }
  EXPECT_EQ(Good({"--bootstrap", "SSL://kafka:9093", "--kafka", "security.protocol=ssl"}).kafka[0],
            "security.protocol=ssl");
  for (const char* wrong : {":9", "foo:x", "foo:", "foo:0", "foo:65536", "foo:-1", "foo:9092x",
                            "::1:9092", "[::1:9092", "a b:1", "kafka/path", "http://kafka:9092",
                            "://kafka", "SSL://kafka:9093", "PLAINTEXT://", "PLAINTEXT://:9092"}) {
    EXPECT_THAT(Wrong({"--bootstrap-servers", std::string("kafka-1:9092,") + wrong}),
                HasSubstr(std::string("--bootstrap-servers: \"") + wrong + "\""));
  }
  EXPECT_THAT(Wrong({"--bootstrap-servers", "SSL://kafka:9093"}), HasSubstr("security.protocol"));
  EXPECT_THAT(Wrong({"--bootstrap-servers", ","}), HasSubstr("no address"));
}

TEST(Options, HelpNamesEveryOptionWithItsDefault) {
  const ParsedOptions parsed = ParseOptions({"--help"});
  EXPECT_EQ(parsed.status, kDone);
  for (const char* part : {"--bootstrap-servers", "127.0.0.1:7600", "SEGMENTD_LISTEN",
                           "(default 127.0.0.1:7600;", "--deadline-grace", "Examples:"}) {
    EXPECT_THAT(parsed.text, HasSubstr(part));
  }
}

TEST(Options, PrintedConfigurationIsReadBackAndHidesSecrets) {
  const ParsedOptions printed =
      ParseOptions({"--print-config", "--kafka", "sasl.password=hunter2", "--kafka",
                    "client.rack=r1", "--workers", "2", "--no-create-topics", "--max-lateness",
                    "90m", "--instance-id", "i", "--backfill-share", "0.25"});
  ASSERT_EQ(printed.status, kDone) << printed.text;
  EXPECT_THAT(printed.text, Not(HasSubstr("hunter2")));
  EXPECT_THAT(printed.text, HasSubstr("sasl.password=(redacted)"));
  EXPECT_THAT(printed.text, HasSubstr("backfill-share = 0.25\n"));

  const Options options = Good({"--config", FileWith(printed.text)});
  EXPECT_EQ(options.workers, 2);
  EXPECT_EQ(options.backfill_share, 0.25);
  EXPECT_FALSE(options.create_topics);
  EXPECT_FALSE(options.accept_lost_input);
  EXPECT_THAT(ParseOptions({"--print-config", "--accept-lost-input"}).text,
              AllOf(HasSubstr("accept-lost-input = true"), HasSubstr("create-topics = true")));
  EXPECT_EQ(options.settings.max_lateness, Duration::Minutes(90));
  EXPECT_EQ(options.instance_id, "i");
  EXPECT_EQ(options.listen, "127.0.0.1:7600");
  EXPECT_EQ(options.startup_timeout, std::nullopt);
  EXPECT_THAT(options.kafka, testing::ElementsAre("sasl.password=(redacted)", "client.rack=r1"));
}

TEST(Options, AFileIsReadAsToml) {
  const std::string file = FileWith(
      "instance-id = 'a#b'  # not c\n"
      "kafka = [\n"
      "  \"sasl.password=s3cr#t\\\\99\",\n"
      "  \"security.protocol=SASL_SSL\",\n"
      "]\n"
      "backfill-share = 0.8\nworkers = 3\ncreate-topics = false\n"
      "max-lateness = \"30m\"\n");
  const Options options = Good({"--config", file});
  EXPECT_EQ(options.instance_id, "a#b");
  EXPECT_THAT(options.kafka,
              testing::ElementsAre("sasl.password=s3cr#t\\99", "security.protocol=SASL_SSL"));
  EXPECT_EQ(options.backfill_share, 0.8);
  EXPECT_EQ(options.workers, 3);
  EXPECT_FALSE(options.create_topics);
  EXPECT_EQ(options.settings.max_lateness, Duration::Minutes(30));
}

TEST(Options, AFileThatIsNoTomlIsRefusedWithTheLine) {
  EXPECT_THAT(Wrong({"--config", FileWith("workers = 1\nmax-lateness = 30m\n")}),
              AllOf(HasSubstr("options_test.toml, line 2: "), HasSubstr("need quotes")));
  EXPECT_THAT(Wrong({"--config", FileWith("[kafka]\nworkers = 1\n")}),
              HasSubstr("line 1: kafka: no option is a table"));
  EXPECT_THAT(Wrong({"--config", FileWith("kafka = [[\"a=b\"]]\n")}), HasSubstr("a list of texts"));
  EXPECT_THAT(Wrong({"--config", "/there/is/none.toml"}), HasSubstr("/there/is/none.toml: "));
  EXPECT_THAT(Wrong({"--config", testing::TempDir()}), HasSubstr("can't be read"));
  // Opened, but each read of its beginning fails.
  EXPECT_THAT(Wrong({"--config", "/proc/self/mem"}), HasSubstr("can't be read"));
  for (const char* name :
       {"create-topics", "accept-lost-input", "accept-lost-definitions", "workers"}) {
    EXPECT_THAT(Wrong({"--config", FileWith(std::string(name) + " = []\n")}),
                HasSubstr("one value is meant, not 0"));
    EXPECT_THAT(Wrong({"--config", FileWith(std::string(name) + " = [true, false]\n")}),
                HasSubstr("one value is meant, not 2"));
  }
}

TEST(Options, AFlagInAFileMayBeNamedByWhatItDenies) {
  EXPECT_FALSE(Good({"--config", FileWith("no-create-topics = true\n")}).create_topics);
  EXPECT_TRUE(Good({"--config", FileWith("no-create-topics = false\n")}).create_topics);
}

// By either name, but not by both, even if they agree, or a flag decides.
TEST(Options, AFileNamesAnOptionOnce) {
  for (const char* text : {"create-topics = true\nno-create-topics = true\n",
                           "no-create-topics = false\ncreate-topics = true\n"}) {
    for (const std::vector<std::string>& flags :
         {std::vector<std::string>{}, {"--create-topics"}, {"--no-create-topics"}}) {
      std::vector<std::string> arguments = {"--config", FileWith(text)};
      arguments.insert(arguments.end(), flags.begin(), flags.end());
      EXPECT_THAT(Wrong(arguments),
                  HasSubstr("options_test.toml: create-topics and no-create-topics are one option"))
          << text;
    }
  }
  EXPECT_THAT(Wrong({"--config", FileWith("bootstrap-servers = \"a:1\"\nbootstrap = \"b:1\"\n")}),
              HasSubstr("options_test.toml: bootstrap and bootstrap-servers are one option"));
  EXPECT_TRUE(
      Good({"--config", FileWith("no-create-topics = true\n"), "--create-topics"}).create_topics);
}

TEST(Options, AFileMayBeEmptyOrAPipe) {
  EXPECT_EQ(Good({"--config", FileWith("")}).workers, Good({}).workers);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], "workers = 3\n", 12), 12);
  close(ends[1]);
  EXPECT_EQ(Good({"--config", "/dev/fd/" + std::to_string(ends[0])}).workers, 3);
  close(ends[0]);
}

TEST(Options, WhatIsPrintedIsReadBack) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{},
        {"--instance-id", "a#\"b'\\c", "--kafka", "client.rack=x#1", "--http", "",
         "--no-create-topics"}}) {
    std::vector<std::string> printing = arguments;
    printing.emplace_back("--print-config");
    const std::string printed = ParseOptions(printing).text;
    const std::string again = ParseOptions({"--config", FileWith(printed), "--print-config"}).text;
    EXPECT_EQ(again, printed);
  }
}

}  // namespace
}  // namespace segmentd
