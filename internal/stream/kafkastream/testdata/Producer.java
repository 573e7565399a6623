import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Writes to a topic in transactions: "commit" or "abort" and the values of each, in turn. */
public final class Producer {
  public static void main(String[] args) throws Exception {
    try (var producer =
        new KafkaProducer<>(
            Map.of("bootstrap.servers", args[0], "transactional.id", args[1] + "-java", "compression.type", "lz4"),
            new StringSerializer(),
            new StringSerializer())) {
      producer.initTransactions();
      for (int i = 2; i + 1 < args.length; i += 2) {
        producer.beginTransaction();
        for (String value : args[i + 1].split(",")) {
          producer.send(new ProducerRecord<>(args[1], value, value)).get();
        }
        switch (args[i]) {
          case "commit" -> producer.commitTransaction();
          case "abort" -> producer.abortTransaction();
          default -> throw new IllegalArgumentException(args[i]);
        }
      }
    }
  }
}
