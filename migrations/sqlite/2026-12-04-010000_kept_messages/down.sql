DROP TABLE matssocket_kept_message;
