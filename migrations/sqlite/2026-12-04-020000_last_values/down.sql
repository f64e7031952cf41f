DROP TABLE matssocket_topic_value;
